// Every kind of misuse gives a code and a message; outputs and state stay as they were.
//   misuse layer.plan damaged.plan
#include <cstdio>
#include <cstring>

#include "pyflow/pyflow.hpp"

namespace {

int failures = 0;

void expect(const char* what, const pf_status& status, pf_code code, const char* words) {
  const bool right = status.code == code && std::strstr(status.message, words);
  if (!right) std::printf("%s: code %d, message '%s'\n", what, status.code, status.message);
  failures += !right;
}

void check(const char* what, bool right) {
  if (!right) std::printf("%s\n", what);
  failures += !right;
}

float weight(const pf_api* pf, const pf_state* state) {
  float values[12];
  pf_tensor tensor = pyflow::tensor(values, {4, 3});
  return pf->state_get(state, "w", &tensor, nullptr) == PF_OK ? values[0] : 0.0f;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const pf_api* pf = pf_get_api(PF_API_VERSION);
  pf_status status{};
  pf_model* model = nullptr;
  pf_state* state = nullptr;
  pf_context *context = nullptr, *twice = nullptr, *where = nullptr;

  check("check 7", !(pf_get_api(99)));
  pf->model_load(nullptr, &model, &status);
  expect("no path", status, PF_INVALID_ARGUMENT, "NULL");
  pf->model_load("/nowhere.plan", &model, &status);
  expect("no file", status, PF_NOT_FOUND, "/nowhere.plan");
  pf->model_load(argv[2], &model, &status);
  expect("damaged", status, PF_DATA_LOSS, "digest");
  pf->model_from_memory("PYFLPLAN", 8, &model, &status);
  expect("too short", status, PF_DATA_LOSS, "truncated");
  check("check 8", !(model));
  if (pf->model_load(argv[1], &model, nullptr) != PF_OK) return 1;
  if (pf->state_create(model, &state, &status) != PF_OK) return 1;
  pf->context_create(state, "predicts", nullptr, &context, &status);
  expect("no entry", status, PF_NOT_FOUND, "there are predict, double, where");
  pf_context_options options{};
  pf->context_create(state, "predict", &options, &context, &status);
  expect("no struct_size", status, PF_INVALID_ARGUMENT, "struct_size");
  if (pf->context_create(state, "predict", nullptr, &context, nullptr) != PF_OK) return 1;
  if (pf->context_create(state, "double", nullptr, &twice, nullptr) != PF_OK) return 1;
  if (pf->context_create(state, "where", nullptr, &where, nullptr) != PF_OK) return 1;

  alignas(64) float x[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, y[6] = {7, 7, 7, 7, 7, 7};
  pf_tensor in = pyflow::tensor(x, {2, 4}), out = pyflow::tensor(y, {2, 3});
  const auto refuse = [&](const char* what, const pf_tensor& input, const pf_tensor& output, const char* words) {
    pf_tensor made = output;
    pf->context_run(context, &input, 1, &made, 1, nullptr, &status);
    expect(what, status, PF_INVALID_ARGUMENT, words);
    check("check 1", !(y[0] != 7));
  };
  pf_tensor bad = in;
  bad.dtype = PF_DTYPE_float64;
  refuse("dtype", bad, out, "float64");
  bad = in;
  bad.ndim = 17;
  refuse("too many axes", bad, out, "17");
  bad = in;
  bad.dims[1] = 5;
  refuse("shape", bad, out, "expected 4");
  bad = in;
  bad.dims[0] = -1;
  refuse("negative", bad, out, "-1");
  bad = in;
  bad.data = nullptr;
  refuse("no data", bad, out, "NULL");
  bad = in;
  bad.bytes = 31;
  refuse("short", bad, out, "31 bytes");
  bad = in;
  bad.data = reinterpret_cast<char*>(x) + 1;
  refuse("unaligned", bad, out, "aligned");
  bad = out;
  bad.bytes = 23;
  refuse("short output", in, bad, "23 bytes");
  bad = out;
  bad.data = x;
  refuse("overlap", in, bad, "overlaps");
  bad = out;
  bad.struct_size = 8;
  refuse("old struct", in, bad, "struct_size");
  pf->context_run(context, &in, 0, &out, 1, nullptr, &status);
  expect("count", status, PF_INVALID_ARGUMENT, "1 inputs; got 0");

  const float before = weight(pf, state);
  const int32_t stop = 1;
  pf_run_options run{};
  run.struct_size = sizeof(run);
  run.cancel = &stop;
  pf->context_run(twice, nullptr, 0, nullptr, 0, &run, &status);
  check("check 2", !(status.code != PF_CANCELLED && weight(pf, state) != 2 * before));
  pf->state_reset(state, nullptr);
  pf->context_run(twice, nullptr, 0, nullptr, 0, nullptr, &status);
  check("check 3", !(status.code != PF_OK || weight(pf, state) != 2 * before));
  pf->state_load(state, argv[1], &status);
  expect("not a checkpoint", status, PF_DATA_LOSS, "not a checkpoint");
  check("check 4", !(weight(pf, state) != 2 * before));
  pf->state_save(state, "/nowhere/x.safetensors", &status);
  expect("no folder", status, PF_NOT_FOUND, "/nowhere");
  pf_tensor other = pyflow::tensor(x, {3});
  pf->state_set(state, "w", &other, &status);
  expect("other shape", status, PF_INVALID_ARGUMENT, "float32[4,3]");
  pf->state_set(state, "v", &other, &status);
  expect("no variable", status, PF_NOT_FOUND, "there are w");

  // A size that only the run tells.
  pf_tensor late{};
  late.struct_size = sizeof(late);
  pf->context_bind(where, &in, 1, &late, 1, &status);
  check("check 5", !(status.code != PF_OK || late.dims[0] * late.dims[1] >= 0));
  int64_t indices[16];
  late.data = indices;
  late.bytes = sizeof(indices);
  pf->context_run(where, &in, 1, &late, 1, nullptr, &status);
  expect("late output", status, PF_INVALID_ARGUMENT, "only the run tells");
  late.data = nullptr;
  check("check 9", !(pf->context_run(where, &in, 1, &late, 1, nullptr, &status) != PF_OK));
  check("check 6",
        !(late.bytes != sizeof(indices) || pf->context_output(where, 0, indices, sizeof(indices), &status) != PF_OK));
  pf->context_output(where, 0, indices, 8, &status);
  expect("short copy", status, PF_INVALID_ARGUMENT, "8");

  pf->model_release(model);
  pf->state_release(state);
  out = pyflow::tensor(y, {2, 3});
  check("check 10", !(pf->context_run(context, &in, 1, &out, 1, nullptr, &status) != PF_OK));
  for (pf_context* each : {context, twice, where}) pf->context_release(each);
  pf->model_release(nullptr);
  std::puts(failures ? "not as expected" : "all as expected");
  return failures != 0;
}
