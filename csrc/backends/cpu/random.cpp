// random_uniform, random_normal, random_integers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers:
// as easy as 1, 2, 3; SC 2011). An element depends on (key, counter) and its index alone; docs/numerics.md "Random
// numbers" defines it, pyflow/ops/randoms/philox.py is the same in numpy.
#include "backends/cpu/operands.h"
#include "kernels/scalar_math.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

// Philox blocks at a time; a loop of 16 or fewer would be unrolled instead of vectorised.
constexpr int64_t kBlocks = 32;
constexpr int64_t kWords = 4 * kBlocks;  // of 32 bits
constexpr int64_t kWides = kWords / 2;   // of 64 bits
constexpr int64_t kRandomTaskElements = 16384;

// The words of blocks [first, first + kBlocks).
static void philox(const int64_t* key, uint64_t first, uint32_t* words) {
  uint32_t c0[kBlocks], c1[kBlocks], c2[kBlocks], c3[kBlocks];
  for (int64_t b = 0; b < kBlocks; ++b) {
    const uint64_t block = first + static_cast<uint64_t>(b);
    c0[b] = static_cast<uint32_t>(block);
    c1[b] = static_cast<uint32_t>(block >> 32);
    c2[b] = static_cast<uint32_t>(key[1]);
    c3[b] = static_cast<uint32_t>(static_cast<uint64_t>(key[1]) >> 32);
  }
  uint32_t k0 = static_cast<uint32_t>(key[0]);
  uint32_t k1 = static_cast<uint32_t>(static_cast<uint64_t>(key[0]) >> 32);
  for (int32_t round = 0; round < 10; ++round) {
    for (int64_t b = 0; b < kBlocks; ++b) {
      const uint64_t product0 = uint64_t{0xD2511F53u} * c0[b];
      const uint64_t product1 = uint64_t{0xCD9E8D57u} * c2[b];
      const uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ c1[b] ^ k0;
      const uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ c3[b] ^ k1;
      c1[b] = static_cast<uint32_t>(product1);
      c3[b] = static_cast<uint32_t>(product0);
      c0[b] = next0;
      c2[b] = next2;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int64_t b = 0; b < kBlocks; ++b) {
    words[4 * b] = c0[b];
    words[4 * b + 1] = c1[b];
    words[4 * b + 2] = c2[b];
    words[4 * b + 3] = c3[b];
  }
}

static inline uint64_t wide_word(const uint32_t* words, int64_t i) {
  return words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
}

// How many elements of a type come from one batch of blocks, and the random bits of one of them.
template <class T>
struct Source;
template <>
struct Source<float> {
  static constexpr int64_t kElements = kWords;
  static constexpr int kBits = 24;
  static inline int32_t bits(const uint32_t* words, int64_t i) { return static_cast<int32_t>(words[i] >> 8); }
};
template <>
struct Source<double> {
  static constexpr int64_t kElements = kWides;
  static constexpr int kBits = 53;
  static inline int64_t bits(const uint32_t* words, int64_t i) {
    return static_cast<int64_t>(wide_word(words, i) >> 11);
  }
};

static inline float next_towards(float from, float to) {
  return __builtin_nextafterf(from, to);
}
static inline double next_towards(double from, double to) {
  return __builtin_nextafter(from, to);
}

// In [low, high).
template <class T>
struct Uniform {
  static constexpr int64_t kElements = Source<T>::kElements;
  T low, range, last;

  explicit Uniform(const pf_call* call) {
    low = static_cast<T>(call->step->floats[0]);
    const T high = static_cast<T>(call->step->floats[1]);
    range = high - low;
    last = high > low ? next_towards(high, low) : static_cast<T>(__builtin_inf());
  }

  void fill(const uint32_t* words, T* y) const {
    constexpr T unit = T{1} / static_cast<T>(int64_t{1} << Source<T>::kBits);
    for (int64_t i = 0; i < kElements; ++i) {
      const T value = low + static_cast<T>(Source<T>::bits(words, i)) * unit * range;
      y[i] = value < last ? value : last;
    }
  }
};

// sin and cos of x in [-pi/4, pi/4] by their series, to the precision of T.
template <class T>
static inline T small_sine(T x) {
  const T s = x * x;
  T p = T(1.0 / 362880);
  if constexpr (sizeof(T) == 8)
    p = ((T(-1.0 / 1307674368000) * s + T(1.0 / 6227020800)) * s - T(1.0 / 39916800)) * s + p;
  p = ((p * s - T(1.0 / 5040)) * s + T(1.0 / 120)) * s - T(1.0 / 6);
  return x + x * s * p;
}
template <class T>
static inline T small_cosine(T x) {
  const T s = x * x;
  T p = T(-1.0 / 3628800);
  if constexpr (sizeof(T) == 8) {
    p = ((T(1.0 / 20922789888000) * s - T(1.0 / 87178291200)) * s + T(1.0 / 479001600)) * s + p;
  }
  p = ((p * s + T(1.0 / 40320)) * s - T(1.0 / 720)) * s + T(1.0 / 24);
  return T{1} - (T(0.5) * s - s * s * p);
}

// Box and Muller: elements 2j and 2j + 1 share a radius from the first and an angle from the second of their bits.
template <class T>
struct Normal {
  static constexpr int64_t kElements = Source<T>::kElements;
  T mean, deviation;

  explicit Normal(const pf_call* call)
      : mean(static_cast<T>(call->step->floats[0])), deviation(static_cast<T>(call->step->floats[1])) {}

  void fill(const uint32_t* words, T* y) const {
    using Bits = decltype(Source<T>::bits(words, 0));
    constexpr T unit = T{1} / static_cast<T>(int64_t{1} << Source<T>::kBits);
    constexpr Bits quarter = Bits{1} << (Source<T>::kBits - 2);
    constexpr T quarter_turn = static_cast<T>(1.57079632679489661923) / static_cast<T>(quarter);
    constexpr int64_t pairs = kElements / 2;
    T first[pairs], second[pairs];
    for (int64_t j = 0; j < pairs; ++j) {
      const T u = static_cast<T>(Source<T>::bits(words, 2 * j) + 1) * unit;
      const Bits turn = Source<T>::bits(words, 2 * j + 1);
      const Bits quadrant = (turn + quarter / 2) >> (Source<T>::kBits - 2);
      const T angle = static_cast<T>(turn - quadrant * quarter) * quarter_turn;
      const T radius = math::square_root(T(-2) * math::logarithm(u));
      const T sine = small_sine(angle);
      const T cosine = small_cosine(angle);
      const bool swapped = (quadrant & 1) != 0;
      const T across = swapped ? sine : cosine;
      const T along = swapped ? cosine : sine;
      first[j] = radius * (((quadrant + 1) & 2) != 0 ? -across : across);
      second[j] = radius * ((quadrant & 2) != 0 ? -along : along);
    }
    for (int64_t j = 0; j < pairs; ++j) {
      y[2 * j] = mean + deviation * first[j];
      y[2 * j + 1] = mean + deviation * second[j];
    }
  }
};

// In [low, high): the high half of 64 random bits times the range.
template <class T>
struct Integers {
  static constexpr int64_t kElements = kWides;
  uint64_t low, range;

  explicit Integers(const pf_call* call)
      : low(static_cast<uint64_t>(call->ints[0])), range(static_cast<uint64_t>(call->ints[1]) - low) {}

  void fill(const uint32_t* words, T* y) const {
    for (int64_t i = 0; i < kElements; ++i) {
      const auto product = static_cast<unsigned __int128>(wide_word(words, i)) * range;
      y[i] = static_cast<T>(low + static_cast<uint64_t>(product >> 64));
    }
  }
};

template <class Distribution, class T>
static void generate(const pf_call* call, const pf_task* task) {
  const pf_view& y = call->outputs[0];
  const pf_view& state = call->inputs[0];
  const int64_t* const source = static_cast<const int64_t*>(state.data);
  const int64_t key[2] = {source[0], source[state.strides[0]]};
  const Distribution distribution(call);
  const Loops<1> loops = loops_of(y);
  const int64_t begin = task->begin * kRandomTaskElements;
  const int64_t end = minimum_of(loops.count(), task->end * kRandomTaskElements);
  if (begin >= end) return;
  Position<1> position(loops, begin);
  for (int64_t at = begin; at < end; at += Distribution::kElements) {
    uint32_t words[kWords];
    T values[Distribution::kElements];
    philox(key, static_cast<uint64_t>(at / Distribution::kElements * kBlocks), words);
    distribution.fill(words, values);
    write_strided(static_cast<T*>(y.data), loops, &position, minimum_of(Distribution::kElements, end - at), values);
  }
}

template <template <class> class Distribution>
static pf_code run_floats(const pf_call* call, const pf_task* task, pf_error*) {
  if (call->outputs[0].dtype == PF_DTYPE_float32) {
    generate<Distribution<float>, float>(call, task);
  } else {
    generate<Distribution<double>, double>(call, task);
  }
  return PF_OK;
}

static pf_code run_integers(const pf_call* call, const pf_task* task, pf_error* error) {
  const int64_t low = call->ints[0];
  const int64_t high = call->ints[1];
  if (low >= high) {
    return fail(error, PF_INVALID_ARGUMENT, "the range [%lld, %lld) is empty", static_cast<long long>(low),
                static_cast<long long>(high));
  }
  if (call->outputs[0].dtype != PF_DTYPE_int32) {
    generate<Integers<int64_t>, int64_t>(call, task);
    return PF_OK;
  }
  if (low < INT32_MIN || high > int64_t{INT32_MAX} + 1) {
    return fail(error, PF_INVALID_ARGUMENT, "the range [%lld, %lld) does not fit int32", static_cast<long long>(low),
                static_cast<long long>(high));
  }
  generate<Integers<int32_t>, int32_t>(call, task);
  return PF_OK;
}

static pf_code partition(const pf_call* call, pf_partition* partition, pf_error* error) {
  if (call->inputs[0].dims[0] != 2) {
    return fail(error, PF_INVALID_ARGUMENT, "the key has %lld elements; expected key and counter",
                static_cast<long long>(call->inputs[0].dims[0]));
  }
  const int64_t count = count_elements(call->outputs[0]);
  return one_phase_of(partition, count, kRandomTaskElements, 40.0 + 2.5 * static_cast<double>(count));
}

template <int32_t kInts, int32_t kFloats, uint32_t kDtypes>
static int32_t supports(const pf_step* step, char* why, size_t why_size) {
  return takes(step, 1, 1, kInts, kFloats, why, why_size) &&
         dtype_in(step, step->inputs[0], kInt64Dtype, why, why_size) &&
         dtype_in(step, step->outputs[0], kDtypes, why, why_size) &&
         (step->inputs[0].ndim == 1 ||
          refuse(why, why_size, "%s takes a key of 1 dim; got %d", step->kernel, step->inputs[0].ndim));
}

static const pf_kernel kRandomKernels[] = {
    {"random_uniform", supports<0, 2, kFloatDtypes>, nullptr, nullptr, partition, run_floats<Uniform>},
    {"random_normal", supports<0, 2, kFloatDtypes>, nullptr, nullptr, partition, run_floats<Normal>},
    {"random_integers", supports<2, 0, kIntDtypes | kUint64Dtype>, nullptr, nullptr, partition, run_integers},
};

const pf_kernel* random_kernels(int32_t* count) {
  *count = sizeof(kRandomKernels) / sizeof(kRandomKernels[0]);
  return kRandomKernels;
}

}  // namespace PF_ISA
}  // namespace pf
