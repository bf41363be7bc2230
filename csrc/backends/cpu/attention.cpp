// attend: softmax(q kᵀ · scale + bias) v. Keys are taken a stretch at a time: a task holds the scores of some rows
// against one stretch, and its result holds, after each stretch, the attention over the keys seen so far. Every row is
// computed by itself in an order that follows from the number of keys alone.
#include "backends/cpu/exponentials.h"
#include "backends/cpu/gemm.h"
#include "backends/cpu/operands.h"
#include "kernels/strided.h"

namespace pf {
namespace PF_ISA {

constexpr int64_t kStretchKeys = 256;
constexpr int64_t kScoreRows = 48;  // rows whose scores are held at once
constexpr int64_t kAbreast = 8;     // rows that are weighed at once, so that none waits for the sum of another
constexpr int64_t kTaskRows = 192;  // keys are packed once for so many
constexpr int64_t kFewestTaskRows = 48;
constexpr int64_t kWantedTasks = 8;

/* What a row gives whose weights are NaN: that, or 0 if its bias is minus infinity for all keys, or 0 always. */
enum class Nothing : int64_t { kNan, kUnseenIsZero, kZero };

struct AttendPlan {
  Loops<5> heads;  // q, k, v, y, bias
  int64_t count;   // of heads
  int64_t m, n, d, e;
  int64_t q_row, q_d, k_row, k_d, v_row, v_e, y_row, y_e, bias_row, bias_key;
  int64_t row_blocks, stretches;
  int64_t columns, pitch;  // of a result's row and of a row of scores, in scratch
  bool has_bias, is_causal;
  Nothing nothing;
  int64_t offset;

  int64_t task_rows() const { return ceildiv(m, row_blocks); }
  int64_t stretch_keys() const { return ceildiv(n, stretches); }
};

static void plan_attend(const pf_call* call, AttendPlan* plan) {
  const pf_view &q = call->inputs[0], &k = call->inputs[1], &v = call->inputs[2], &y = call->outputs[0];
  const int32_t outer = y.ndim - 2;
  plan->has_bias = call->step->ninputs == 4;
  const pf_view& bias = plan->has_bias ? call->inputs[3] : y;
  for (int32_t axis = 0; axis < outer; ++axis) {
    plan->heads.push(y.dims[axis], {q.strides[axis], k.strides[axis], v.strides[axis], y.strides[axis],
                                    plan->has_bias ? bias.strides[axis] : 0});
  }
  plan->count = plan->heads.count();
  plan->m = q.dims[outer];
  plan->n = k.dims[outer];
  plan->d = q.dims[outer + 1];
  plan->e = v.dims[outer + 1];
  plan->q_row = q.strides[outer], plan->q_d = q.strides[outer + 1];
  plan->k_row = k.strides[outer], plan->k_d = k.strides[outer + 1];
  plan->v_row = v.strides[outer], plan->v_e = v.strides[outer + 1];
  plan->y_row = y.strides[outer], plan->y_e = y.strides[outer + 1];
  plan->bias_row = bias.strides[outer], plan->bias_key = bias.strides[outer + 1];
  plan->is_causal = call->ints[0] != 0;
  plan->offset = call->ints[1];
  plan->nothing = static_cast<Nothing>(call->ints[2]);
  plan->row_blocks = maximum_of(1, ceildiv(plan->m, kTaskRows));
  if (plan->count > 0 && plan->count * plan->row_blocks < kWantedTasks) {
    const int64_t most = maximum_of(1, plan->m / kFewestTaskRows);
    plan->row_blocks = maximum_of(plan->row_blocks, minimum_of(most, ceildiv(kWantedTasks, plan->count)));
  }
  plan->stretches = maximum_of(1, ceildiv(plan->n, kStretchKeys));
  plan->columns = ceildiv(plan->e, gemm::kPanel) * gemm::kPanel;
  plan->pitch = ceildiv(plan->stretch_keys(), kExpBlock) * kExpBlock + 16;
}

/* Where the parts of a task's scratch begin, in elements: all are whole cache lines long. */
struct AttendScratch {
  int64_t keys, values, scores, bias, sums, largest, total, end;
};

static AttendScratch scratch_of(const AttendPlan& plan) {
  const auto lines = [](int64_t elements) { return ceildiv(elements, 16) * 16; };
  const int64_t keys = plan.stretch_keys(), rows = lines(plan.task_rows());
  AttendScratch at;
  at.keys = lines(kScoreRows * plan.d);
  at.values = at.keys + ceildiv(keys, gemm::kPanel) * plan.d * gemm::kPanel;
  at.scores = at.values + plan.columns * keys;
  at.bias = at.scores + kScoreRows * plan.pitch;
  at.sums = at.bias + plan.pitch;
  at.largest = at.sums + rows * plan.columns;
  at.total = at.largest + rows;
  at.end = at.total + rows;
  return at;
}

/* Rows that are wanted later. They lie apart, where no hardware fetches them early: `pace` are with each row of scores.
 */
struct Ahead {
  const char* row;
  int64_t rows, stride, bytes, pace;

  template <class T>
  static Ahead of(const T* first, int64_t rows, int64_t stride, int64_t columns, int64_t column_stride, int64_t steps) {
    const int64_t size = static_cast<int64_t>(sizeof(T));
    return {reinterpret_cast<const char*>(first), column_stride == 1 ? rows : 0, stride * size, columns * size,
            minimum_of(4, ceildiv(rows, steps))};
  }

  void fetch() {
    for (int64_t i = 0; i < pace && rows > 0; ++i, --rows, row += stride) {
      for (int64_t byte = 0; byte < bytes; byte += 64) __builtin_prefetch(row + byte, 0, 2);
    }
  }
};

/* What one head's operands and a task's scratch are. */
template <class T>
struct Head {
  const T *q, *k, *v;
  T* y;
  const void* bias;
  int32_t bias_dtype;
  T *queries, *keys, *values, *scores, *bias_keys, *sums, *largest, *total;
};

template <class T>
static T bias_at(const Head<T>& head, int64_t index) {
  if (head.bias_dtype != PF_DTYPE_bool) return static_cast<const T*>(head.bias)[index];
  return static_cast<const uint8_t*>(head.bias)[index] != 0 ? T{0} : -static_cast<T>(__builtin_inf());
}

/* How many of the keys from `first` on row `row` may see by its place. */
static int64_t seen_of(const AttendPlan& plan, int64_t row, int64_t first, int64_t count) {
  if (!plan.is_causal) return count;
  return maximum_of(0, minimum_of(count, plan.offset + row + 1 - first));
}

/* Is the bias of all keys of a row minus infinity? */
template <class T>
static bool sees_nothing(const AttendPlan& plan, const Head<T>& head, int64_t row) {
  const int64_t seen = seen_of(plan, row, 0, plan.n);
  if (!plan.has_bias) return seen == 0;
  for (int64_t key = 0; key < seen; ++key) {
    if (bias_at(head, row * plan.bias_row + key * plan.bias_key) != -static_cast<T>(__builtin_inf())) return false;
  }
  return true;
}

/* The bias of one row for the keys of a stretch becomes adjacent. */
template <class T>
static void gather_bias(const AttendPlan& plan, const Head<T>& head, int64_t row, int64_t first, int64_t count) {
  const int64_t begin = row * plan.bias_row + first * plan.bias_key;
  for (int64_t key = 0; key < count; ++key) head.bias_keys[key] = bias_at(head, begin + key * plan.bias_key);
}

template <class T>
static bool bias_lies_ready(const AttendPlan& plan, const Head<T>& head) {
  return head.bias_dtype != PF_DTYPE_bool && plan.bias_key == 1;
}

/* The bias of one row for the keys of a stretch, adjacent; that which all rows have is gathered already. */
template <class T>
static const T* bias_of(const AttendPlan& plan, const Head<T>& head, int64_t row, int64_t first, int64_t count) {
  if (bias_lies_ready(plan, head)) return static_cast<const T*>(head.bias) + row * plan.bias_row + first;
  if (plan.bias_row != 0) gather_bias(plan, head, row, first, count);
  return head.bias_keys;
}

/* c[rows, columns] = a b, or += . Panels are `height` rows high, of which the first `depth` are multiplied by. */
template <class T>
static void multiply_rows(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_stride, const T* panels,
                          int64_t height, T* c, int64_t c_stride, bool accumulate) {
  const int64_t whole = ceildiv(columns, kLanes<T>) * kLanes<T>;
  gemm::multiply_columns<T>(rows, whole, depth, {a, a_stride}, {panels, gemm::kPanel, height * gemm::kPanel}, c,
                            c_stride, {accumulate, nullptr, 0, 0});
}

template <class T>
static void pack_panels(int64_t depth, int64_t columns, const T* b, int64_t k_stride, int64_t column_stride, T* to) {
  for (int64_t column = 0; column < columns; column += gemm::kPanel, to += depth * gemm::kPanel) {
    gemm::pack_panel(depth, minimum_of(gemm::kPanel, columns - column), b + column * column_stride, k_stride,
                     column_stride, to);
  }
}

/* Keys [first, first + count), and whether others come before or behind them; some rows look at the first `used`. */
struct Stretch {
  int64_t first, count;
  bool is_first, is_last;
  int64_t used;

  int64_t room() const { return ceildiv(used, kExpBlock) * kExpBlock; }

  /* As it is for rows that end before `row`: their keys come first, and at least one is looked at. */
  Stretch seen_before(const AttendPlan& plan, int64_t row) const {
    if (!plan.is_causal) return *this;
    const int64_t seen = maximum_of(minimum_of(1, count), seen_of(plan, row - 1, first, count));
    return {first, count, is_first, is_last || plan.offset + row <= first + count, seen};
  }
  bool is_hidden(const AttendPlan& plan, int64_t row) const {
    return !is_first && seen_of(plan, row - 1, first, count) == 0;
  }
};

/* Adds a row's bias to its scores and minus infinity to those that it does not see; what lies behind them in their room
 * becomes minus infinity, which changes neither maximum nor sum. Returns the largest. */
template <class T>
static T add_bias(T* scores, const T* bias, int64_t seen, const Stretch& stretch) {
  constexpr T lowest = -static_cast<T>(__builtin_inf());
  if (bias != nullptr) {
    for (int64_t key = 0; key < seen; ++key) scores[key] += bias[key];
  }
  for (int64_t key = seen; key < stretch.used; ++key) scores[key] += lowest;
  for (int64_t key = stretch.used; key < stretch.room(); ++key) scores[key] = lowest;
  return largest_number(scores, stretch.room());
}

/* Scores of rows [row, row + rows) become weights, relative to all keys seen so far, and what the rows' sums hold is
 * multiplied to be so too. */
template <class T>
static void weigh(const AttendPlan& plan, const Head<T>& head, int64_t row, int64_t rows, int64_t held,
                  const Stretch& stretch, T* scores, T* sums, int64_t sums_row, Ahead (&ahead)[4]) {
  constexpr T lowest = -static_cast<T>(__builtin_inf());
  T* const largest = head.largest + held;
  T* const total = head.total + held;
  T here[kAbreast], earlier[kAbreast] = {};
  for (int64_t i = 0; i < rows; ++i) {
    for (Ahead& each : ahead) each.fetch();
    const T* bias = nullptr;
    if (plan.has_bias) bias = bias_of(plan, head, row + i, stretch.first, stretch.used);
    const int64_t seen = seen_of(plan, row + i, stretch.first, stretch.count);
    here[i] = add_bias(scores + i * plan.pitch, bias, seen, stretch);
  }
  for (int64_t i = 0; i < rows; ++i) {
    const T top = stretch.is_first ? here[i] : greater(here[i], largest[i]);
    const T shift = top == lowest ? T{0} : top;
    T sum = raised_exponentials(scores + i * plan.pitch, shift, stretch.room(), scores + i * plan.pitch);
    if (!stretch.is_first) {
      earlier[i] = math::exponential(largest[i] - shift) * total[i];
      sum = earlier[i] + sum;
    }
    largest[i] = top;
    total[i] = sum;
  }
  for (int64_t i = 0; i < rows; ++i) {
    // Before the last stretch a row that has seen nothing may yet see something.
    const T inverse = total[i] == 0 && !stretch.is_last ? T{0} : T{1} / total[i];
    T* const weights = scores + i * plan.pitch;
    for (int64_t key = 0; key < stretch.room(); key += kExpBlock) {
#pragma GCC unroll 16
      for (int64_t j = key; j < key + kExpBlock; j += kLanes<T>) store(weights + j, load(weights + j) * inverse);
    }
    T factor = earlier[i] * inverse;
    if (plan.nothing != Nothing::kNan && !(total[i] > 0)) {
      const bool unseen = plan.nothing == Nothing::kUnseenIsZero && sees_nothing(plan, head, row + i);
      if (unseen) total[i] = 0;
      if (unseen) largest[i] = lowest;
      if (unseen || plan.nothing == Nothing::kZero) {
        factor = 0;
        for (int64_t key = 0; key < stretch.used; ++key) weights[key] = 0;
      }
    }
    if (stretch.is_first) continue;
    for (int64_t j = 0; j < plan.e; ++j) sums[i * sums_row + j] *= factor;
  }
}

template <class T>
static void scale_row(const T* from, int64_t stride, int64_t count, T scale, T* to) {
  int64_t i = 0;
  for (; stride == 1 && i + kLanes<T> <= count; i += kLanes<T>) store(to + i, load(from + i) * scale);
  for (; i < count; ++i) to[i] = from[i * stride] * scale;
}

/* Rows [row, row + rows) of a head against a stretch of keys; `held` is where they are in the task. */
template <class T>
static void attend_rows(const AttendPlan& plan, const Head<T>& head, T scale, int64_t row, int64_t rows, int64_t held,
                        const Stretch& whole, Ahead (&ahead)[4]) {
  if (whole.is_hidden(plan, row + rows)) return;
  const Stretch stretch = whole.seen_before(plan, row + rows);
  for (int64_t i = 0; i < rows; ++i) {
    scale_row(head.q + (row + i) * plan.q_row, plan.q_d, plan.d, scale, head.queries + i * plan.d);
  }
  multiply_rows(rows, stretch.used, plan.d, head.queries, plan.d, head.keys, plan.d, head.scores, plan.pitch, false);

  const bool straight = plan.y_e == 1 && plan.e % kLanes<T> == 0;
  T* const sums = straight ? head.y + row * plan.y_row : head.sums + held * plan.columns;
  const int64_t sums_row = straight ? plan.y_row : plan.columns;
  for (int64_t i = 0; i < rows && stretch.count > 0; i += kAbreast) {
    weigh(plan, head, row + i, minimum_of(kAbreast, rows - i), held + i, stretch, head.scores + i * plan.pitch,
          sums + i * sums_row, sums_row, ahead);
  }
  multiply_rows(rows, plan.e, stretch.used, head.scores, plan.pitch, head.values, stretch.count, sums, sums_row,
                !stretch.is_first);

  if (straight || !stretch.is_last) return;
  for (int64_t i = 0; i < rows; ++i) {
    T* const to = head.y + (row + i) * plan.y_row;
    for (int64_t j = 0; j < plan.e; ++j) to[j * plan.y_e] = sums[i * sums_row + j];
  }
}

template <class T>
static void find_operands(const AttendPlan& plan, const pf_call* call, int64_t which, Head<T>* head) {
  const Position<5> position(plan.heads, which);
  head->q = static_cast<const T*>(call->inputs[0].data) + position.offset[0];
  head->k = static_cast<const T*>(call->inputs[1].data) + position.offset[1];
  head->v = static_cast<const T*>(call->inputs[2].data) + position.offset[2];
  head->y = static_cast<T*>(call->outputs[0].data) + position.offset[3];
  if (!plan.has_bias) return;
  const pf_view& bias = call->inputs[3];
  head->bias = static_cast<const char*>(bias.data) + position.offset[4] * element_size(bias.dtype);
}

/* What is wanted behind the scores of a block's rows, that from `begin` on: their results, and the next stretch or the
 * next head's first. */
template <class T>
static void look_ahead(const AttendPlan& plan, const pf_call* call, const Head<T>& head, int64_t end, int64_t block,
                       int64_t begin, int64_t stretch, Ahead (&ahead)[4]) {
  const bool same = stretch + 1 < plan.stretches;
  const int64_t rows = plan.task_rows();
  ahead[3] = Ahead::of(head.y + begin * plan.y_row, rows, plan.y_row, plan.e, plan.y_e, rows);
  if (!same && (block + 1 == end || (block + 1) % plan.row_blocks != 0)) return;
  Head<T> next = head;
  if (!same) find_operands(plan, call, (block + 1) / plan.row_blocks, &next);
  const int64_t first = same ? gemm::part_begin(plan.n, plan.stretches, stretch + 1) : 0;
  const int64_t keys = minimum_of(plan.stretch_keys(), plan.n - first);
  ahead[0] = Ahead::of(next.k + first * plan.k_row, keys, plan.k_row, plan.d, plan.k_d, rows);
  ahead[1] = Ahead::of(next.v + first * plan.v_row, keys, plan.v_row, plan.e, plan.v_e, rows);
  if (!same) ahead[2] = Ahead::of(next.q, rows, plan.q_row, plan.d, plan.q_d, rows);
}

template <class T>
static void attend_typed(const pf_call* call, const pf_task* task) {
  AttendPlan plan;
  plan_attend(call, &plan);
  const AttendScratch at = scratch_of(plan);
  T* const scratch = static_cast<T*>(task->thread_scratch);
  const T scale = static_cast<T>(call->step->floats[0]);
  Head<T> head = {};
  if (plan.has_bias) head.bias_dtype = call->inputs[3].dtype;
  head.queries = scratch;
  head.keys = scratch + at.keys;
  head.values = scratch + at.values;
  head.scores = scratch + at.scores;
  head.bias_keys = scratch + at.bias;
  head.sums = scratch + at.sums;
  head.largest = scratch + at.largest;
  head.total = scratch + at.total;
  int64_t packed = -1;  // the head and stretch whose keys and values scratch holds
  for (int64_t block = task->begin; block < task->end; ++block) {
    const auto begin_of = [&](int64_t which) { return gemm::part_begin(plan.m, plan.row_blocks, which); };
    const int64_t begin = begin_of(block % plan.row_blocks), end = begin_of(block % plan.row_blocks + 1);
    find_operands(plan, call, block / plan.row_blocks, &head);
    for (int64_t stretch = 0; stretch < plan.stretches; ++stretch) {
      const auto first_of = [&](int64_t which) { return gemm::part_begin(plan.n, plan.stretches, which); };
      const int64_t first = first_of(stretch), count = first_of(stretch + 1) - first;
      const Stretch keys = {first, count, first == 0, first + count == plan.n, count};
      if (keys.is_hidden(plan, end)) break;
      const int64_t wanted = block / plan.row_blocks * plan.stretches + stretch;
      if (wanted != packed) {
        pack_panels(plan.d, count, head.k + first * plan.k_row, plan.k_d, plan.k_row, head.keys);
        pack_panels(count, plan.e, head.v + first * plan.v_row, plan.v_row, plan.v_e, head.values);
        packed = wanted;
      }
      if (plan.has_bias && plan.bias_row == 0 && !bias_lies_ready(plan, head)) gather_bias(plan, head, 0, first, count);
      Ahead ahead[4] = {};
      look_ahead(plan, call, head, task->end, block, begin, stretch, ahead);
      for (int64_t row = begin; row < end; row += kScoreRows) {
        attend_rows(plan, head, scale, row, minimum_of(kScoreRows, end - row), row - begin, keys, ahead);
      }
    }
  }
}

template <int32_t ONLY = kEveryDtype>
static pf_code attend_run(const pf_call* call, const pf_task* task, pf_error*) {
  is_dtype<ONLY>(call->inputs[0].dtype, PF_DTYPE_float32) ? attend_typed<float>(call, task)
                                                          : attend_typed<double>(call, task);
  return PF_OK;
}

static pf_code attend_partition(const pf_call* call, pf_partition* partition, pf_error*) {
  AttendPlan plan;
  plan_attend(call, &plan);
  const int64_t size = element_size(call->inputs[0].dtype);
  partition->thread_scratch = static_cast<size_t>(scratch_of(plan).end * size);
  partition->shared_scratch = 0;
  const int64_t tasks = plan.m == 0 || plan.e == 0 ? 0 : plan.count * plan.row_blocks;
  const int64_t seen =
      plan.is_causal ? maximum_of(1, minimum_of(plan.n, plan.offset + plan.m / 2)) : plan.n;  // by a row
  const double scores = static_cast<double>(plan.count) * static_cast<double>(plan.m) * static_cast<double>(seen);
  const double products = scores * static_cast<double>(plan.d + plan.e);
  const double packed = static_cast<double>(tasks) * static_cast<double>(plan.n) * static_cast<double>(plan.d + plan.e);
  return one_phase(partition, tasks, 100.0 + products / (size == 4 ? 40.0 : 20.0) + scores + 0.2 * packed);
}

static int32_t attend_supports(const pf_step* step, char* why, size_t why_size) {
  const int32_t inputs = step->ninputs == 4 ? 4 : 3;
  if (!takes(step, inputs, 1, 3, 1, why, why_size) || !dtype_in(step, step->inputs[0], kFloatDtypes, why, why_size) ||
      !same_rank(step, step->inputs[0], step->outputs[0], why, why_size)) {
    return 0;
  }
  if (step->inputs[0].ndim < 2)
    return refuse(why, why_size, "attend takes q[...,M,D], got rank %d", step->inputs[0].ndim);
  for (int32_t i = 1; i < inputs; ++i) {
    if (!same_rank(step, step->inputs[0], step->inputs[i], why, why_size)) return 0;
    if (i == 3 && step->inputs[3].dtype == PF_DTYPE_bool) continue;
    if (!same_dtype(step, step->inputs[0], step->inputs[i], why, why_size)) return 0;
  }
  return same_dtype(step, step->inputs[0], step->outputs[0], why, why_size);
}

static const pf_kernel kAttentionKernels[] = {
    {"attend", attend_supports, nullptr, nullptr, attend_partition, attend_run<>},
};

PF_FLOAT32(attend, nullptr, nullptr, attend_partition, attend_run<PF_DTYPE_float32>)

const pf_kernel* attention_kernels(int32_t* count) {
  *count = sizeof(kAttentionKernels) / sizeof(kAttentionKernels[0]);
  return kAttentionKernels;
}

}  // namespace PF_ISA
}  // namespace pf
