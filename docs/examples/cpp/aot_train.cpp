// Trains the digits model in C++, with no Python: the train step is an entry of the compiled library.
//   train folder train_count test_count steps batch     writes folder/weights.bin, the variables one after the other
// The folder holds {train,test}_images.bin (count x 1 x 8 x 8 float32) and {train,test}_labels.bin (count int64).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "digits.h"

namespace {

template <typename T>
std::vector<T> read(const std::string& path, int64_t count) {
  std::vector<T> result(static_cast<size_t>(count));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(result.data()), static_cast<std::streamsize>(result.size() * sizeof(T)));
  if (!file) std::exit(std::printf("%s is too short\n", path.c_str()));
  return result;
}

struct Memory {
  explicit Memory(size_t size) : bytes((size + 63) / 64 * 64), data(std::aligned_alloc(64, bytes)) {}
  Memory(const Memory&) = delete;
  ~Memory() { std::free(data); }
  size_t bytes;
  void* data;
};

void check(int32_t code, const digits_status& status) {
  if (code != DIGITS_OK) std::exit(std::printf("%s\n", status.message));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const std::string folder = argv[1];
  const int64_t train_count = std::atoll(argv[2]), test_count = std::atoll(argv[3]);
  const int64_t steps = std::atoll(argv[4]), batch = std::atoll(argv[5]);
  const auto images = read<float>(folder + "/train_images.bin", train_count * 64);
  const auto labels = read<int64_t>(folder + "/train_labels.bin", train_count);
  const auto test_images = read<float>(folder + "/test_images.bin", test_count * 64);
  const auto test_labels = read<int64_t>(folder + "/test_labels.bin", test_count);

  digits_status status;
  digits_state* state = nullptr;
  Memory memory(digits_state_bytes());
  check(digits_state_init(memory.data, memory.bytes, nullptr, 0, &state, &status), status);

  Memory arena(digits_train_step_arena_bytes(batch, 1));
  const float rate = 1e-3f;
  float loss = 0;
  for (int64_t turn = 0; turn < steps; ++turn) {
    const int64_t first = turn * batch % (train_count - batch + 1);
    check(digits_train_step(state, arena.data, arena.bytes, batch, images.data() + first * 64, labels.data() + first,
                            &rate, &loss, nullptr, &status),
          status);
  }

  Memory wide(digits_predict_arena_bytes(test_count, 1));
  std::vector<float> scores(static_cast<size_t>(test_count * 10));
  check(digits_predict(state, wide.data, wide.bytes, test_count, test_images.data(), scores.data(), nullptr, &status),
        status);
  int64_t right = 0;
  for (int64_t i = 0; i < test_count; ++i) {
    const float* row = scores.data() + i * 10;
    right += std::max_element(row, row + 10) - row == test_labels[static_cast<size_t>(i)];
  }

  std::ofstream file(folder + "/weights.bin", std::ios::binary);
  for (const char* name : {"hidden_w", "hidden_b", "out_w", "out_b"}) {
    std::vector<char> value(name[0] == 'h' ? (name[7] == 'w' ? 256 * 128 * 4 : 128 * 4)
                                           : (name[4] == 'w' ? 128 * 10 * 4 : 10 * 4));
    check(digits_state_get(state, name, value.data(), value.size(), &status), status);
    file.write(value.data(), static_cast<std::streamsize>(value.size()));
  }
  std::printf("loss %.4f, accuracy %.4f\n", static_cast<double>(loss),
              static_cast<double>(right) / static_cast<double>(test_count));
}
