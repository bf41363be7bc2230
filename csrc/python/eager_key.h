// What calls are found by: the arguments as words, in a table.
#ifndef PYFLOW_PYTHON_EAGER_KEY_H
#define PYFLOW_PYTHON_EAGER_KEY_H

#include <array>
#include <cstring>
#include <unordered_map>

#include "python/arrays.h"
#include "python/eager.h"

namespace pf::eager {

class Key {
 public:
  // Each adds what tells its argument from others; false if it cannot, or the key is full.
  bool tensor(const Tensor* tensor) {
    if (hooks().objects[static_cast<size_t>(tensor->code)]) return false;
    const ArrayFields* fields = array_fields(tensor->array);
    if (size_ + 1 + static_cast<size_t>(fields->nd) > words_.size()) return false;
    words_[size_++] = uint64_t{1} | static_cast<uint64_t>(tensor->code) << 8 | static_cast<uint64_t>(fields->nd) << 32;
    for (int axis = 0; axis < fields->nd; ++axis) words_[size_++] = static_cast<uint64_t>(fields->dimensions[axis]);
    return true;
  }
  bool add(uint64_t tag, uint64_t word) {
    if (size_ + 2 > words_.size()) return false;
    words_[size_++] = tag;
    words_[size_++] = word;
    return true;
  }
  bool text(PyObject* text) {
    Py_ssize_t length;
    const char* bytes = PyUnicode_AsUTF8AndSize(text, &length);
    if (!bytes) PyErr_Clear();
    const size_t words = (static_cast<size_t>(length) + 7) / 8;
    if (!bytes || size_ + 1 + words > words_.size()) return false;
    words_[size_++] = uint64_t{2} | static_cast<uint64_t>(length) << 8;
    if (words) words_[size_ + words - 1] = 0;
    memcpy(&words_[size_], bytes, static_cast<size_t>(length));
    size_ += words;
    return true;
  }
  // A number, text, None, a dtype, a tuple of ints. Equal words mean the same.
  bool plain(PyObject* value);

  std::span<const uint64_t> words() const { return {words_.data(), size_}; }

 private:
  std::array<uint64_t, 64> words_;
  size_t size_ = 0;
};

// Objects by key. It forgets all when it has as many as pyflow keeps.
class Table {
 public:
  PyObject* find(const Key& key) const {
    const auto found = entries_.find(key.words());
    return found == entries_.end() ? nullptr : found->second.ptr();
  }
  void set(const Key& key, pybind11::object value) {
    if (entries_.size() >= kKept) entries_.clear();
    const std::span<const uint64_t> words = key.words();
    entries_.insert_or_assign({words.begin(), words.end()}, std::move(value));
  }
  void clear() { entries_.clear(); }
  int visit(visitproc visit, void* arg) const {
    for (const auto& [words, value] : entries_) Py_VISIT(value.ptr());
    return 0;
  }

 private:
  static constexpr size_t kKept = 4096;
  using Words = std::vector<uint64_t>;
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::span<const uint64_t> words) const {
      uint64_t hash = words.size();
      for (uint64_t word : words) {
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
      }
      return hash;
    }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(std::span<const uint64_t> a, std::span<const uint64_t> b) const {
      return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(uint64_t)) == 0;
    }
  };
  std::unordered_map<Words, pybind11::object, Hash, Equal> entries_;
};

}  // namespace pf::eager

#endif
