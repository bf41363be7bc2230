// Reverse mode over records: from the newest call to the oldest, each when all that follows it is done.
#include <algorithm>
#include <queue>
#include <set>
#include <unordered_map>

#include "python/arrays.h"
#include "python/eager.h"

namespace py = pybind11;

namespace pf::eager {

namespace {

using Parts = std::vector<py::object>;  // null: no gradient

py::handle handle(Record* record) {
  return reinterpret_cast<PyObject*>(record);
}

py::object checked(PyObject* made) {
  if (!made) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::tuple bits(uint64_t set, int32_t count) {
  py::tuple result(count);
  for (int32_t index = 0; index < count; ++index) result[index] = py::bool_((set >> index & 1) != 0);
  return result;
}

// The entry's gradient for these inputs and outputs; Python makes it at the first use.
const Gradient& gradient_of(Record* record, uint64_t needs, uint64_t has) {
  std::vector<Gradient>& known = reinterpret_cast<Entry*>(record->derivative)->state->gradients;
  auto find = [&] {
    return std::find_if(known.begin(), known.end(),
                        [&](const Gradient& each) { return each.needs == needs && each.has == has; });
  };
  if (auto found = find(); found != known.end()) return *found;
  const py::object made =
      py::handle(record->derivative).attr("gradient")(bits(needs, record->inputs), bits(has, record->outputs));
  if (auto found = find(); found != known.end()) return *found;  // another thread was quicker
  Gradient gradient{needs, has, {}, {}, {}, {}};
  if (!made.is_none()) {
    gradient.entry = made.attr("entry");
    for (const py::handle& each : made.attr("reads")) gradient.reads.push_back(each.cast<int32_t>());
    for (const py::handle& each : made.attr("fed")) gradient.fed.push_back(each.cast<int32_t>());
    for (const py::handle& each : made.attr("places")) {
      gradient.places.push_back(each.is_none() ? -1 : each.cast<int32_t>());
    }
  }
  known.push_back(std::move(gradient));
  return known.back();
}

// The parts by the entry's own gradient. False if Python must find them.
bool derive_here(Record* record, const Parts& arrived, Parts& parts) {
  if (!is_entry(record->derivative) || mode().recording || record->inputs > 64 || record->outputs > 64) return false;
  uint64_t needs = 0, has = 0;
  for (int32_t index = 0; index < record->inputs; ++index) {
    const bool inexact = hooks().inexact[static_cast<size_t>(record->given[index].code)] != 0;
    if (inexact && record->edges[index].target) needs |= uint64_t{1} << index;
  }
  for (int32_t index = 0; index < record->outputs; ++index) {
    if (arrived[index]) has |= uint64_t{1} << index;
  }
  const Gradient& gradient = gradient_of(record, needs, has);
  if (!gradient.entry) return false;
  if (gradient.entry.is_none()) return true;
  const py::object entry = gradient.entry;
  const std::vector<int32_t> places = gradient.places;
  std::vector<Operand> operands;
  for (int32_t index : gradient.reads) {
    if (!check_unchanged(record, record->given[index])) throw py::error_already_set();
  }
  for (int32_t index : gradient.fed) {
    if (!check_unchanged(record, record->made[index])) throw py::error_already_set();
  }
  for (int32_t index = 0; index < record->inputs; ++index) operands.push_back({record->given[index].array, nullptr});
  const py::tuple drawn = py::reinterpret_borrow<py::tuple>(record->extra);
  for (const py::handle& each : drawn) operands.push_back({each.ptr(), nullptr});
  for (const py::object& each : arrived) {
    if (each) operands.push_back({reinterpret_cast<Tensor*>(each.ptr())->array, nullptr});
  }
  for (int32_t index : gradient.fed) operands.push_back({record->made[index].array, nullptr});
  EntryState& state = *reinterpret_cast<Entry*>(entry.ptr())->state;
  std::vector<PyObject*> results(state.results);
  if (!run_entry(state, operands, results.data())) throw py::error_already_set();
  Parts kept;
  for (PyObject* each : results) kept.push_back(py::reinterpret_steal<py::object>(each));
  const Parts made = outputs_of(state, results.data());
  for (size_t index = 0; index < places.size(); ++index) {
    if (places[index] >= 0) parts[index] = made[places[index]];
  }
  return true;
}

Parts derive(Record* record, const Parts& arrived) {
  Parts parts(record->inputs);
  if (derive_here(record, arrived, parts)) return parts;
  py::list given;
  for (const py::object& each : arrived) given.append(each ? each : py::none());
  const py::sequence made = py::handle(record->derivative).attr("vjp")(handle(record), given);
  if (made.size() != parts.size()) throw py::value_error("a gradient has a part per input");
  for (size_t index = 0; index < parts.size(); ++index) {
    const py::object part = made[index];
    if (part.is_none()) continue;
    if (!is_tensor(part.ptr())) throw py::type_error("a gradient is a tensor");
    parts[index] = part;
  }
  return parts;
}

class Walk {
 public:
  Walk(bool retain, py::object check) : retain_(retain), check_(std::move(check)) {}

  py::list leaves;
  py::dict found;

  void want(Tensor* tensor) {
    if (tensor->record) wanted_.emplace(tensor->record, tensor->index);
  }

  // `gradient` flows along `edge`: it is added to what has come there.
  void arrive(const Edge& edge, const py::object& gradient) {
    if (!edge.target) return;
    if (edge.is_leaf) {
      const auto [place, is_new] = places_.emplace(edge.target, leaves.size());
      if (is_new) {
        leaves.append(py::make_tuple(py::handle(edge.target), gradient));
      } else {
        const py::object before = leaves[place->second].attr("__getitem__")(1);
        leaves[place->second] = py::make_tuple(py::handle(edge.target), checked(add(before.ptr(), gradient.ptr())));
      }
      return;
    }
    auto* record = reinterpret_cast<Record*>(edge.target);
    const auto [flow, is_new] = flowing_.try_emplace(record);
    if (is_new) {
      flow->second.resize(static_cast<size_t>(record->outputs));
      pending_.push({record->number, py::reinterpret_borrow<py::object>(edge.target)});
    }
    py::object& slot = flow->second[static_cast<size_t>(edge.index)];
    slot = slot ? checked(add(slot.ptr(), gradient.ptr())) : gradient;
  }

  void run() {
    while (!pending_.empty()) {
      const py::object kept = pending_.top().record;
      pending_.pop();
      auto* record = reinterpret_cast<Record*>(kept.ptr());
      if (record->released) {
        raise_failure(record, "released", nullptr);
        throw py::error_already_set();
      }
      Parts arrived = std::move(flowing_.at(record));
      flowing_.erase(record);
      for (size_t index = 0; index < arrived.size(); ++index) hook(record, index, arrived[index]);
      const Parts parts = derive(record, arrived);
      if (mode().anomaly) check_(kept, list_of(parts));
      for (size_t index = 0; index < parts.size(); ++index) {
        if (parts[index]) arrive(record->edges[index], parts[index]);
      }
      if (!retain_) release(record);
    }
  }

 private:
  struct Pending {
    uint64_t number;
    py::object record;
    bool operator<(const Pending& other) const { return number < other.number; }
  };

  static py::list list_of(const Parts& parts) {
    py::list result;
    for (const py::object& each : parts) result.append(each ? each : py::none());
    return result;
  }

  // What hooks make of the gradient; it is kept if it was asked for.
  void hook(Record* record, size_t index, py::object& gradient) {
    if (!gradient) return;
    if (record->hooks && record->hooks != Py_None) {
      const auto all = py::reinterpret_borrow<py::dict>(record->hooks);
      if (all.contains(py::int_(index))) {
        for (const py::handle& each : py::tuple(all[py::int_(index)])) {
          const py::object changed = each(gradient);
          if (!changed.is_none()) gradient = changed;
        }
        if (!is_tensor(gradient.ptr())) throw py::type_error("a hook gives a tensor or None");
      }
    }
    PyObject* id = handle(record).ptr();
    if (wanted_.contains({id, static_cast<int32_t>(index)})) {
      found[py::make_tuple(reinterpret_cast<uintptr_t>(id), index)] = gradient;
    }
  }

  bool retain_;
  py::object check_;
  std::unordered_map<Record*, Parts> flowing_;
  std::priority_queue<Pending> pending_;
  std::unordered_map<PyObject*, size_t> places_;  // of leaves
  std::set<std::pair<PyObject*, int32_t>> wanted_;
};

Tensor* tensor_of(const py::handle& object) {
  if (!is_tensor(object.ptr())) throw py::type_error("expected a tensor");
  return reinterpret_cast<Tensor*>(object.ptr());
}

py::tuple walk(const py::sequence& outputs, const py::sequence& gradients, bool retain, const py::sequence& wanted,
               const py::object& check) {
  Walk walk(retain, check);
  for (const py::handle& each : wanted) walk.want(tensor_of(each));
  for (size_t index = 0; index < outputs.size(); ++index) {
    const py::object output = outputs[index], gradient = gradients[index];
    tensor_of(gradient);
    Edge edge{nullptr, 0, false};
    const bool good = take_edge(edge, tensor_of(output));
    const auto target = py::reinterpret_steal<py::object>(edge.target);
    if (!good) throw py::error_already_set();
    walk.arrive(edge, gradient);
  }
  walk.run();
  return py::make_tuple(walk.leaves, walk.found);
}

}  // namespace

void bind_backward(py::module_& module) {
  module.def("walk", &walk, py::arg("outputs"), py::arg("gradients"), py::arg("retain"), py::arg("wanted"),
             py::arg("check"),
             "One backward: ([(leaf, its gradient)], {(id of a record, output): the gradient there} for `wanted`). "
             "check(record, parts) sees the parts in anomaly mode.");
}

}  // namespace pf::eager
