// Two artefacts in one process, the second one's weights in a file; a pool of the host's, a state shared by threads.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "layer.h"
#include "wide.h"

namespace {

struct Memory {
  explicit Memory(size_t size) : bytes((size + 63) / 64 * 64), data(std::aligned_alloc(64, bytes + 64)) {}
  ~Memory() { std::free(data); }
  size_t bytes;
  void* data;
};

void parallel_for(void* pool, int64_t ntasks, void (*task)(void*, int64_t, int32_t), void* argument) {
  ++*static_cast<long*>(pool);
  std::vector<std::thread> threads;
  for (int64_t index = 1; index < ntasks; ++index) threads.emplace_back(task, argument, index, static_cast<int>(index));
  task(argument, 0, 0);
  for (std::thread& thread : threads) thread.join();
}

int fail(const char* what) {
  std::puts(what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::ifstream file(argv[1], std::ios::binary);
  Memory weights(WIDE_WEIGHTS_BYTES);
  file.read(static_cast<char*>(weights.data), WIDE_WEIGHTS_BYTES);
  layer_status layer_said;
  wide_status said;
  layer_state* layer = nullptr;
  wide_state* wide = nullptr;
  Memory layer_memory(layer_state_bytes()), memory(wide_state_bytes());
  if (layer_state_init(layer_memory.data, layer_memory.bytes, nullptr, 0, &layer, &layer_said))
    return fail(layer_said.message);
  if (wide_state_init(memory.data, memory.bytes, weights.data, WIDE_WEIGHTS_BYTES, &wide, &said))
    return fail(said.message);

  constexpr int64_t kRows = 300;
  std::vector<float> x(kRows * 64), expected(kRows * 64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 97) / 97;
  auto run = [&](int32_t threads, std::vector<float>& y) {
    long calls = 0;
    const wide_options options = {sizeof(wide_options), threads, &calls, parallel_for, nullptr};
    Memory arena(wide_predict_arena_bytes(kRows, threads));
    wide_status status;
    if (wide_predict(wide, arena.data, arena.bytes, kRows, x.data(), y.data(), &options, &status))
      std::puts(status.message);
    return calls;
  };
  run(1, expected);
  for (int32_t threads : {2, 3}) {
    std::vector<float> y(kRows * 64);
    if (run(threads, y) == 0) return fail("no step was worth threads");
    if (y != expected) return fail("other bits with other threads");
  }
  std::vector<std::vector<float>> results(4, std::vector<float>(kRows * 64));
  std::vector<std::thread> callers;
  for (auto& y : results) callers.emplace_back([&run, &y] { run(1, y); });
  for (std::thread& caller : callers) caller.join();
  for (const auto& y : results)
    if (y != expected) return fail("other bits from threads that share a state");

  const float ones[4] = {1, 1, 1, 1};
  float y[3];
  Memory arena(layer_predict_arena_bytes(1, 1));
  if (layer_predict(layer, arena.data, arena.bytes, 1, ones, y, nullptr, &layer_said)) return fail(layer_said.message);
  for (float value : y) std::printf("%.9g\n", static_cast<double>(value));
  for (int i = 0; i < 5; ++i) std::printf("%.9g\n", static_cast<double>(expected[static_cast<size_t>(i)]));

  const auto* skewed = static_cast<const unsigned char*>(weights.data) + 8;
  if (wide_state_init(memory.data, memory.bytes, nullptr, 0, &wide, &said) != WIDE_INVALID_ARGUMENT)
    return fail("weights that are missing were taken");
  if (wide_state_init(memory.data, memory.bytes, skewed, WIDE_WEIGHTS_BYTES, &wide, &said) != WIDE_INVALID_ARGUMENT)
    return fail("weights that are not aligned were taken");
  static_cast<unsigned char*>(weights.data)[WIDE_WEIGHTS_BYTES - 1] ^= 1;
  if (wide_state_init(memory.data, memory.bytes, weights.data, WIDE_WEIGHTS_BYTES, &wide, &said) != WIDE_DATA_LOSS)
    return fail("damaged weights were taken");
  if (wide_state_init(memory.data, memory.bytes, weights.data, 10, &wide, &said) != WIDE_DATA_LOSS)
    return fail("short weights were taken");
  return 0;
}
