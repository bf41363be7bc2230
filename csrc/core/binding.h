// A root of the plan at known sizes: where every buffer lies, every step's views, the backends' bound segments.
#ifndef PYFLOW_CORE_BINDING_H
#define PYFLOW_CORE_BINDING_H

#include <span>
#include <vector>

#include "core/model.h"

namespace pf {

struct BoundItem {
  bool bound = false;
  void* handle = nullptr;
  std::vector<int64_t> numbers;  // dims, strides, ints and defined sizes that the rest points to
  std::vector<pf_place> places;
  std::vector<pf_step_sizes> sizes;
  std::vector<int64_t> limits;  // upper bounds of the sizes that the last step defines
  std::vector<int64_t> at;      // values of Item::waits that it was bound with
};

// A port or a commit's source at known sizes. `bytes` are those of its elements.
struct BoundView {
  int64_t offset = 0;
  int64_t bytes = 0;
  bool contiguous = true;
  std::vector<int64_t> dims;
  std::vector<int64_t> strides;
};

class Binding {
 public:
  // `symbols`: those that are fed are known. Throws Error.
  Binding(const Model& model, const Root& root, std::span<const SymbolValue> symbols);
  ~Binding();
  Binding(const Binding&) = delete;

  const Model& model() const { return model_; }
  const Root& root() const { return root_; }
  BoundItem& item(uint32_t body, size_t index) { return bodies_[body][index]; }
  // Binds an item whose sizes other steps define, if they moved. The bytes of what it writes are right afterwards.
  void bind_late(uint32_t body, size_t index);
  // Takes what the last step of the item defined. Throws Error for a size that is not in its range.
  void take_defines(uint32_t body, size_t index);
  void forget_late();
  // Evaluates `view` as sizes stand now and checks that it lies in its buffer.
  BoundView view(const View& view) const;
  // Does the view depend on a late size?
  bool is_late(const View& view) const;
  void evaluate(std::span<const Row> closed) { values_.evaluate(closed, symbols_); }
  int64_t size(Row row) const { return values_[row]; }
  bool knows(uint32_t symbol) const { return symbols_[symbol].known; }

  int64_t buffer_bytes(uint32_t buffer) const { return bytes_[buffer]; }
  int64_t buffer_offset(uint32_t buffer) const { return offsets_[buffer]; }
  const std::vector<int64_t>& space_bytes() const { return space_bytes_; }
  size_t scratch() const { return scratch_; }
  double cost() const { return cost_; }

  // Addresses, one per buffer of the plan; the executor fills them.
  std::vector<void*> buffers;
  // The addresses of the spaces that `buffers` was filled for.
  std::vector<void*> bases;

 private:
  void lay_out();
  int64_t bytes_of(uint32_t buffer, pf_code code) const;
  // The bytes of the late buffers that the item writes.
  void measure_grown(uint32_t body, const Item& item);
  void bind_item(uint32_t body, size_t index);
  void place_item(const Item& item, uint32_t body, BoundItem& bound);
  void place_view(const View& view, pf_place& place, int64_t*& numbers) const;
  void unbind(const Item& item, BoundItem& bound);
  void unbind_all();

  const Model& model_;
  const Root& root_;
  SizeValues values_;
  std::vector<SymbolValue> symbols_;
  std::vector<int64_t> bytes_, offsets_, space_bytes_;
  std::vector<std::vector<BoundItem>> bodies_;
  size_t scratch_ = 0;
  double cost_ = 0;
};

}  // namespace pf

#endif
