// Trains a saved plan from C++, tests it and saves a checkpoint that Python loads.
//   train digits.plan folder train_count test_count steps batch checkpoint.safetensors
// The folder holds {train,test}_images.bin (count x 1 x 8 x 8 float32) and {train,test}_labels.bin (count int64). The
// plan has the entries "train_step" (images, labels -> loss) and "predict" (images -> scores).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "pyflow/pyflow.hpp"

namespace {

template <typename T>
std::vector<T> read(const std::string& path, int64_t count) {
  std::vector<T> result(static_cast<size_t>(count));
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(result.data()), static_cast<std::streamsize>(result.size() * sizeof(T)));
  if (!file) throw std::runtime_error(path + " is too short");
  return result;
}

struct Digits {
  Digits(const std::string& prefix, int64_t size)
      : count(size),
        images(read<float>(prefix + "_images.bin", size * 64)),
        labels(read<int64_t>(prefix + "_labels.bin", size)) {}
  int64_t count;
  std::vector<float> images;
  std::vector<int64_t> labels;
};

double accuracy(pyflow::Context& predict, const Digits& digits) {
  std::vector<float> scores(static_cast<size_t>(digits.count * 10));
  predict
      .run({pyflow::tensor(digits.images.data(), {digits.count, 1, 8, 8})},
           {pyflow::tensor(scores.data(), {digits.count, 10})})
      .check();
  int64_t right = 0;
  for (int64_t i = 0; i < digits.count; ++i) {
    const float* row = scores.data() + i * 10;
    right += std::max_element(row, row + 10) - row == digits.labels[static_cast<size_t>(i)];
  }
  return static_cast<double>(right) / static_cast<double>(digits.count);
}

void train(char** argv) {
  const std::string folder = argv[2];
  const Digits train(folder + "/train", std::atoll(argv[3])), test(folder + "/test", std::atoll(argv[4]));
  const int64_t steps = std::atoll(argv[5]), batch = std::atoll(argv[6]);

  const pyflow::Model model = pyflow::Model::load(argv[1]).value();
  pyflow::State state = model.new_state().value();
  pyflow::Context step = state.new_context("train_step").value();
  pyflow::Context predict = state.new_context("predict").value();
  float loss = 0;
  for (int64_t turn = 0; turn < steps; ++turn) {
    const int64_t first = turn * batch % (train.count - batch + 1);
    const pf_tensor inputs[] = {pyflow::tensor(train.images.data() + first * 64, {batch, 1, 8, 8}),
                                pyflow::tensor(train.labels.data() + first, {batch})};
    step.run(inputs, {pyflow::tensor(&loss, {})}).check();
  }
  state.save(argv[7]).check();
  std::printf("loss %.4f, accuracy %.4f\n", static_cast<double>(loss), accuracy(predict, test));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  try {
    train(argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
