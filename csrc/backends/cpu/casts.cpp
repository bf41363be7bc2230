#include "backends/cpu/casts.h"

#include "kernels/narrow_floats.h"
#include "kernels/scalar_ops.h"

namespace pf {
namespace PF_ISA {
namespace {

template <typename From, typename To, typename Function>
void each(void* out, const void* const* args, int64_t n, const Function& function) {
  To* to = static_cast<To*>(out);
  const From* x = static_cast<const From*>(args[0]);
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) to[i] = function(x[i]);
}

template <typename From, typename To>
void cast_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  each<From, To>(out, args, n, [](From x) { return ops::cast<To>::apply(x); });
}

template <typename From>
void odd_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  each<From, float>(out, args, n, [](From x) { return narrow::to_odd(x); });
}

template <typename Format>
void decode_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  int64_t done = 0;
  if constexpr (Format::kInHardware)
    done = narrow::decode_half(static_cast<float*>(out), static_cast<const uint16_t*>(args[0]), n);
  const void* const rest[] = {static_cast<const typename Format::Bits*>(args[0]) + done};
  each<typename Format::Bits, float>(static_cast<float*>(out) + done, rest, n - done,
                                     [](typename Format::Bits x) { return narrow::decode<Format>(x); });
}

template <typename Format, bool kSaturate>
void encode_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  typedef typename Format::Bits Bits;
  int64_t done = 0;
  if constexpr (Format::kInHardware)
    done = narrow::encode_half(static_cast<uint16_t*>(out), static_cast<const float*>(args[0]), n);
  const void* const rest[] = {static_cast<const float*>(args[0]) + done};
  each<float, Bits>(static_cast<Bits*>(out) + done, rest, n - done,
                    [](float x) { return static_cast<Bits>(narrow::encode<Format, kSaturate>(x)); });
}

// Integers of kBits bits in the low bits of a T; the others are 0.
template <typename T, int kBits, typename Wide>
void widen_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  constexpr int kUnused = static_cast<int>(sizeof(T)) * 8 - kBits;
  each<T, Wide>(out, args, n,
                [](T x) { return static_cast<Wide>(static_cast<T>(static_cast<T>(x << kUnused)) >> kUnused); });
}

template <typename T, int kBits, typename Wide, bool kSaturate>
void narrow_tile(void* out, const void* const* args, int64_t n, uint32_t*) {
  constexpr bool kSigned = static_cast<T>(-1) < T(0);
  constexpr Wide kHigh = static_cast<Wide>((Wide(1) << (kSigned ? kBits - 1 : kBits)) - 1);
  constexpr Wide kLow = kSigned ? -kHigh - 1 : Wide(0);
  constexpr Wide kMask = static_cast<Wide>((uint64_t{1} << kBits) - 1);
  each<Wide, T>(out, args, n, [](Wide x) {
    const Wide kept = kSaturate ? (x < kLow ? kLow : x > kHigh ? kHigh : x) : x;
    return static_cast<T>(kBits < static_cast<int>(sizeof(T)) * 8 ? kept & kMask : kept);
  });
}

struct NarrowRow {
  int32_t dtype;
  int32_t wide;
  TileOp decode;
  TileOp encode;
  TileOp encode_saturated;
};

#define PF_FLOAT_ROW(name)                                                                         \
  {PF_DTYPE_##name, PF_DTYPE_float32, decode_tile<narrow::name>, encode_tile<narrow::name, false>, \
   encode_tile<narrow::name, true>}
#define PF_INTEGER_ROW(name, type, bits, wide)                                                                   \
  {PF_DTYPE_##name, PF_DTYPE_##wide, widen_tile<type, bits, wide##_t>, narrow_tile<type, bits, wide##_t, false>, \
   narrow_tile<type, bits, wide##_t, true>}
constexpr NarrowRow kNarrow[] = {
    PF_FLOAT_ROW(float16),
    PF_FLOAT_ROW(bfloat16),
    PF_FLOAT_ROW(float8_e4m3fn),
    PF_FLOAT_ROW(float8_e4m3fnuz),
    PF_FLOAT_ROW(float8_e5m2),
    PF_FLOAT_ROW(float8_e5m2fnuz),
    PF_FLOAT_ROW(float8_e8m0fnu),
    PF_FLOAT_ROW(float4_e2m1fn),
    PF_INTEGER_ROW(int8, int8_t, 8, int32),
    PF_INTEGER_ROW(int16, int16_t, 16, int32),
    PF_INTEGER_ROW(uint8, uint8_t, 8, int32),
    PF_INTEGER_ROW(uint16, uint16_t, 16, int32),
    PF_INTEGER_ROW(uint32, uint32_t, 32, int64),
    PF_INTEGER_ROW(int4, int8_t, 4, int32),
    PF_INTEGER_ROW(uint4, uint8_t, 4, int32),
    PF_INTEGER_ROW(int2, int8_t, 2, int32),
    PF_INTEGER_ROW(uint2, uint8_t, 2, int32),
};

const NarrowRow* narrow_row(int32_t dtype) {
  for (const NarrowRow& row : kNarrow)
    if (row.dtype == dtype) return &row;
  return nullptr;
}

#define PF_CASTS(From)                                                            \
  {cast_tile<From, uint8_t>,  cast_tile<From, int32_t>, cast_tile<From, int64_t>, \
   cast_tile<From, uint64_t>, cast_tile<From, float>,   cast_tile<From, double>}
constexpr TileOp kCasts[kTileDtypeCount][kTileDtypeCount] = {PF_CASTS(uint8_t),  PF_CASTS(int32_t), PF_CASTS(int64_t),
                                                             PF_CASTS(uint64_t), PF_CASTS(float),   PF_CASTS(double)};
// To float32 on the way to a narrower float.
constexpr TileOp kOdd[kTileDtypeCount] = {cast_tile<uint8_t, float>, odd_tile<int32_t>, odd_tile<int64_t>,
                                          odd_tile<uint64_t>,        nullptr,           odd_tile<double>};

bool is_real_float(int32_t dtype) {
  return dtype == PF_DTYPE_float32 || dtype == PF_DTYPE_float64;
}

}  // namespace

int32_t find_cast(int32_t from, int32_t to, bool saturate, TileOp* stages) {
  const NarrowRow* source = narrow_row(from);
  const NarrowRow* target = narrow_row(to);
  const int32_t here = source != nullptr ? source->wide : from;
  const int32_t there = target != nullptr ? target->wide : to;
  const int32_t i = tile_dtype_index(here), j = tile_dtype_index(there);
  if (i < 0 || j < 0) return 0;
  int32_t count = 0;
  if (source != nullptr) stages[count++] = source->decode;
  const bool rounds = target != nullptr && is_real_float(there);
  if (here != there || (source == nullptr && target == nullptr)) stages[count++] = rounds ? kOdd[i] : kCasts[i][j];
  if (target != nullptr) {
    const bool fits = is_real_float(here) ? !rounds || saturate : saturate && rounds;
    stages[count++] = fits ? target->encode_saturated : target->encode;
  }
  return count;
}

}  // namespace PF_ISA
}  // namespace pf
