#include "core/binding.h"

#include <algorithm>

#include "core/dtype.h"
#include "core/status.h"

namespace pf {

namespace {

// Beyond this no buffer can be; sums of a plan's buffers stay far from overflow.
constexpr int64_t kMaxBytes = int64_t{1} << 46;
// A loop's turns are not known: it counts as long.
constexpr double kLoopCost = 1e9;

// Checks a view against its buffer; gives its first byte. `elements` holds the product of the dims.
int64_t check_view(const View& view, int64_t buffer_bytes, const int64_t* dims, const int64_t* strides, int64_t offset,
                   int64_t* elements) {
  const int64_t itemsize = dtype_bytes(view.dtype);
  int64_t count = 1, low = offset, high = offset;
  bool overflow = false, empty = false;
  for (size_t axis = 0; axis < view.dims.size(); ++axis) {
    if (dims[axis] < 0) throw Error(PF_INVALID_ARGUMENT, text("a size is negative: ", dims[axis], " on axis ", axis));
    empty |= dims[axis] == 0;
  }
  for (size_t axis = 0; !empty && axis < view.dims.size(); ++axis) {
    int64_t reach;
    overflow |= __builtin_mul_overflow(count, dims[axis], &count);
    overflow |= __builtin_mul_overflow(dims[axis] - 1, strides[axis], &reach);
    overflow |= __builtin_add_overflow(reach < 0 ? low : high, reach, reach < 0 ? &low : &high);
  }
  *elements = empty ? 0 : count;
  if (empty) return 0;
  const int64_t limit = buffer_bytes / itemsize;
  if (overflow || low < 0 || high >= limit || count > kMaxBytes / itemsize) {
    throw Error(PF_DATA_LOSS, text("the plan is not valid: a view of elements ", low, " to ", high, " leaves buffer ",
                                   view.buffer, ", which holds ", limit, " of ", dtype_name(view.dtype)));
  }
  return offset * itemsize;
}

}  // namespace

Binding::Binding(const Model& model, const Root& root, std::span<const SymbolValue> symbols)
    : buffers(model.plan().buffers.size()),
      model_(model),
      root_(root),
      values_(model.plan().sizes),
      symbols_(symbols.begin(), symbols.end()),
      bodies_(model.plan().bodies.size()) {
  evaluate(root.rows);
  lay_out();
  try {
    for (uint32_t body : root.bodies) {
      const std::vector<Item>& items = model.body(body).items;
      bodies_[body].resize(items.size());
      for (size_t index = 0; index < items.size(); ++index) {
        if (items[index].waits.empty()) bind_item(body, index);
        if (items[index].action == Action::While) cost_ += kLoopCost;
      }
    }
  } catch (...) {
    unbind_all();
    throw;
  }
}

Binding::~Binding() {
  unbind_all();
}

void Binding::unbind_all() {
  for (uint32_t body : root_.bodies) {
    for (size_t index = 0; index < bodies_[body].size(); ++index)
      unbind(model_.body(body).items[index], bodies_[body][index]);
  }
}

void Binding::unbind(const Item& item, BoundItem& bound) {
  if (bound.bound && item.backend && item.backend->unbind) item.backend->unbind(item.backend->self, bound.handle);
  bound.bound = false;
}

int64_t Binding::bytes_of(uint32_t index, pf_code code) const {
  const Plan& plan = model_.plan();
  const Buffer& buffer = plan.buffers[index];
  const int64_t elements = values_[buffer.elements];
  const int64_t itemsize = dtype_bytes(buffer.dtype);
  if (elements < 0 || elements > kMaxBytes / itemsize) {
    throw Error(elements < 0 ? PF_INVALID_ARGUMENT : code,
                text("a buffer of ", elements, " elements of ", dtype_name(buffer.dtype), " (",
                     plan.sizes.describe(buffer.elements), ") is no size in memory"));
  }
  return elements * itemsize;
}

void Binding::lay_out() {
  const Plan& plan = model_.plan();
  bytes_.resize(plan.buffers.size());
  offsets_.resize(plan.buffers.size());
  space_bytes_.resize(model_.spaces().size());
  std::vector<int64_t> slots(plan.slots);
  std::vector<uint32_t> slot_space(plan.slots);
  for (uint32_t index : root_.buffers) {
    const Buffer& buffer = plan.buffers[index];
    if (model_.is_late(index)) continue;
    bytes_[index] = bytes_of(index, PF_INVALID_ARGUMENT);
    if (buffer.slot >= 0) {
      slots[buffer.slot] = std::max(slots[buffer.slot], bytes_[index]);
      slot_space[buffer.slot] = model_.space_of(index);
    }
  }
  auto take = [this](uint32_t space, int64_t bytes) {
    const int64_t offset = space_bytes_[space];
    if (__builtin_add_overflow(offset, static_cast<int64_t>(align_up(bytes)), &space_bytes_[space])) {
      throw Error(PF_RESOURCE_EXHAUSTED, "the plan's temporaries are beyond 64 bits at these sizes");
    }
    return offset;
  };
  std::vector<int64_t> slot_offsets(plan.slots);
  for (size_t slot = 0; slot < slots.size(); ++slot) slot_offsets[slot] = take(slot_space[slot], slots[slot]);
  for (uint32_t index : root_.buffers) {
    const Buffer& buffer = plan.buffers[index];
    if (buffer.kind != Kind::Temporary || model_.is_late(index)) continue;
    offsets_[index] = buffer.slot >= 0 ? slot_offsets[buffer.slot] : take(model_.space_of(index), bytes_[index]);
  }
}

void Binding::place_view(const View& view, pf_place& place, int64_t*& numbers) const {
  int64_t* dims = numbers;
  int64_t* strides = dims + view.dims.size();
  numbers = strides + view.strides.size();
  for (size_t axis = 0; axis < view.dims.size(); ++axis) {
    dims[axis] = values_[view.dims[axis]];
    strides[axis] = values_[view.strides[axis]];
  }
  int64_t elements;
  place = {static_cast<int32_t>(view.buffer), 0, dims, strides};
  place.offset = check_view(view, bytes_[view.buffer], dims, strides, values_[view.offset], &elements);
}

void Binding::place_item(const Item& item, uint32_t body, BoundItem& bound) {
  const std::vector<Step>& steps = model_.plan().bodies[body];
  size_t places = 0, numbers = 0;
  auto count = [&](const View& view) {
    ++places;
    numbers += 2 * view.dims.size();
  };
  for (uint32_t index = item.first; index < item.first + item.count; ++index) {
    for (const View& view : steps[index].inputs) count(view);
    for (const View& view : steps[index].outputs) count(view);
    numbers += steps[index].ints.size() + steps[index].defines.size();
  }
  bound.places.resize(places);
  bound.numbers.assign(numbers, 0);
  bound.sizes.resize(item.count);
  pf_place* place = bound.places.data();
  int64_t* number = bound.numbers.data();
  for (uint32_t index = 0; index < item.count; ++index) {
    const Step& step = steps[item.first + index];
    pf_step_sizes& sizes = bound.sizes[index];
    try {
      sizes.inputs = place;
      for (const View& view : step.inputs) place_view(view, *place++, number);
      sizes.outputs = place;
      for (const View& view : step.outputs) place_view(view, *place++, number);
      sizes.ints = number;
      for (Row row : step.ints) *number++ = values_[row];
    } catch (const Error& error) {
      fail_step(model_, body, item.first + index, error.code(), error.message());
    }
    sizes.defines = number;
    number += step.defines.size();
  }
  bound.limits.clear();
  for (uint32_t symbol : item.defines) {
    const int32_t limit = model_.plan().sizes.symbols[symbol].bound;
    bound.limits.push_back(limit < 0 ? INT64_MAX : values_[static_cast<Row>(limit)]);
  }
}

void Binding::measure_grown(uint32_t body, const Item& item) {
  try {
    for (uint32_t buffer : item.grows) bytes_[buffer] = bytes_of(buffer, PF_RESOURCE_EXHAUSTED);
  } catch (const Error& error) {
    fail_step(model_, body, item.first, error.code(), error.message());
  }
}

void Binding::bind_item(uint32_t body, size_t index) {
  const Item& item = model_.body(body).items[index];
  BoundItem& bound = bodies_[body][index];
  unbind(item, bound);
  measure_grown(body, item);
  place_item(item, body, bound);
  if (item.action == Action::Kernel) {
    pf_needs needs{0, 0};
    pf_error error{-1, ""};
    void* handle = nullptr;
    const pf_code code =
        item.backend->bind(item.backend->self, item.prepared, bound.sizes.data(), &handle, &needs, &error);
    if (code != PF_OK) fail_step(model_, body, item.first + std::max(error.step, 0), code, error.message);
    bound.handle = handle;
    scratch_ = std::max(scratch_, needs.scratch);
    cost_ += needs.cost;
  }
  bound.bound = true;
}

void Binding::bind_late(uint32_t body, size_t index) {
  const Item& item = model_.body(body).items[index];
  BoundItem& bound = bodies_[body][index];
  bool same = bound.bound;
  for (size_t each = 0; each < item.waits.size(); ++each) {
    const SymbolValue& symbol = symbols_[item.waits[each]];
    if (!symbol.known) {
      fail_step(
          model_, body, item.first, PF_FAILED_PRECONDITION,
          text("the size '", model_.plan().sizes.symbols[item.waits[each]].name, "' is used before a step defines it"));
    }
    same = same && bound.at[each] == symbol.value;
  }
  if (!same) {
    bound.at.clear();
    for (uint32_t symbol : item.waits) bound.at.push_back(symbols_[symbol].value);
  }
  for (uint32_t symbol : item.defines) symbols_[symbol].known = false;
  // Rows and buffers are shared: items of another branch may have changed them since this one was bound.
  evaluate(item.rows);
  if (same) {
    measure_grown(body, item);
  } else {
    bind_item(body, index);
  }
}

void Binding::take_defines(uint32_t body, size_t index) {
  const Item& item = model_.body(body).items[index];
  const BoundItem& bound = bodies_[body][index];
  for (size_t each = 0; each < item.defines.size(); ++each) {
    const Symbol& symbol = model_.plan().sizes.symbols[item.defines[each]];
    const int64_t value = bound.sizes.back().defines[each];
    if (value < symbol.min || value > bound.limits[each]) {
      fail_step(model_, body, item.first + item.count - 1, PF_INVALID_ARGUMENT,
                text("the size '", symbol.name, "' came out as ", value, "; expected ", symbol.min,
                     symbol.bound < 0 ? " or more" : text(" to ", bound.limits[each])));
    }
    symbols_[item.defines[each]] = {value, true};
  }
}

void Binding::forget_late() {
  for (uint32_t symbol : root_.late) symbols_[symbol].known = false;
}

bool Binding::is_late(const View& view) const {
  const SizeTable& sizes = model_.plan().sizes;
  auto late = [&](Row row) { return sizes.is_late(row); };
  return late(view.offset) || std::any_of(view.dims.begin(), view.dims.end(), late) ||
         std::any_of(view.strides.begin(), view.strides.end(), late) || model_.is_late(view.buffer);
}

BoundView Binding::view(const View& view) const {
  BoundView result;
  for (size_t axis = 0; axis < view.dims.size(); ++axis) {
    result.dims.push_back(values_[view.dims[axis]]);
    result.strides.push_back(values_[view.strides[axis]]);
  }
  int64_t elements, expected = 1;
  result.offset =
      check_view(view, bytes_[view.buffer], result.dims.data(), result.strides.data(), values_[view.offset], &elements);
  result.bytes = elements * dtype_bytes(view.dtype);
  for (size_t axis = view.dims.size(); elements > 0 && axis-- > 0;) {
    if (result.dims[axis] != 1 && result.strides[axis] != expected) result.contiguous = false;
    expected *= result.dims[axis];
  }
  return result;
}

}  // namespace pf
