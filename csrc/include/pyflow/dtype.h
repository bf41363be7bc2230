/* The element types, one row each. pyflow/dtypes.py holds the same table for Python; a test compares them. */
#ifndef PYFLOW_DTYPE_H
#define PYFLOW_DTYPE_H

/* ROW(name, code, bits): codes are part of the plan format and never change meaning. Plans hold int64 for string and
 * variant: an object is a 64-bit handle, 0 for "" and nothing, negative for a text that stands in a graph, positive for
 * an entry of the run's table. */
#define PF_DTYPES(ROW)        \
  ROW(bool, 0, 8)             \
  ROW(int8, 1, 8)             \
  ROW(int16, 2, 16)           \
  ROW(int32, 3, 32)           \
  ROW(int64, 4, 64)           \
  ROW(uint8, 5, 8)            \
  ROW(uint16, 6, 16)          \
  ROW(uint32, 7, 32)          \
  ROW(uint64, 8, 64)          \
  ROW(float16, 9, 16)         \
  ROW(bfloat16, 10, 16)       \
  ROW(float32, 11, 32)        \
  ROW(float64, 12, 64)        \
  ROW(complex64, 13, 64)      \
  ROW(complex128, 14, 128)    \
  ROW(float8_e4m3fn, 15, 8)   \
  ROW(float8_e4m3fnuz, 16, 8) \
  ROW(float8_e5m2, 17, 8)     \
  ROW(float8_e5m2fnuz, 18, 8) \
  ROW(float8_e8m0fnu, 19, 8)  \
  ROW(float4_e2m1fn, 20, 4)   \
  ROW(int4, 21, 4)            \
  ROW(uint4, 22, 4)           \
  ROW(int2, 23, 2)            \
  ROW(uint2, 24, 2)           \
  ROW(string, 25, 64)         \
  ROW(variant, 26, 64)

enum pf_dtype {
#define PF_ROW(name, code, bits) PF_DTYPE_##name = code,
  PF_DTYPES(PF_ROW)
#undef PF_ROW
};

#define PF_DTYPE_COUNT 27

#endif
