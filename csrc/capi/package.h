// A file that pyflow wrote (pyflow/container.py): safetensors, with texts and a digest. Read without trust.
#ifndef PYFLOW_CAPI_PACKAGE_H
#define PYFLOW_CAPI_PACKAGE_H

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace pf {

struct PackedArray {
  int32_t dtype;
  std::vector<int64_t> dims;
  std::span<const uint8_t> data;
};

struct Package {
  std::map<std::string, PackedArray> arrays;
  std::map<std::string, std::string> texts;
};

// Parses and checks: kind, version, digest, every offset. `where` names the file in messages. Throws Error:
// PF_DATA_LOSS for a damaged file or one of another kind, PF_FAILED_PRECONDITION for one of a newer version.
Package parse_package(std::span<const uint8_t> bytes, const std::string& kind, const std::string& where);

// The bytes of a package; `texts` get the kind, the version and the digest.
std::vector<uint8_t> build_package(const Package& package, const std::string& kind);

// A file in memory, read-only and private. Throws Error: PF_NOT_FOUND.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const uint8_t> bytes() const { return {static_cast<const uint8_t*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Writes a file beside `path` and renames it, so that `path` is whole or as it was. Throws Error.
void write_whole(const std::string& path, std::span<const uint8_t> bytes);

}  // namespace pf

#endif
