#include "capi/package.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "capi/digest.h"
#include "capi/header.h"
#include "core/dtype.h"
#include "core/status.h"

namespace pf {

namespace {

constexpr int kVersion = 2;
constexpr size_t kDigits = 64;
constexpr const char* kKind = "pyflow.kind";
constexpr const char* kFormat = "pyflow.version";
constexpr const char* kDigest = "pyflow.digest";
constexpr const char* kDtype = "pyflow.dtype:";  // and an array's name: its dtype, where safetensors has no name for it

struct Name {
  const char* safetensors;
  int32_t dtype;
};

constexpr Name kNames[] = {
    {"BOOL", PF_DTYPE_bool},           {"I8", PF_DTYPE_int8},       {"I16", PF_DTYPE_int16},
    {"I32", PF_DTYPE_int32},           {"I64", PF_DTYPE_int64},     {"U8", PF_DTYPE_uint8},
    {"U16", PF_DTYPE_uint16},          {"U32", PF_DTYPE_uint32},    {"U64", PF_DTYPE_uint64},
    {"F16", PF_DTYPE_float16},         {"BF16", PF_DTYPE_bfloat16}, {"F32", PF_DTYPE_float32},
    {"F64", PF_DTYPE_float64},         {"C64", PF_DTYPE_complex64}, {"F8_E4M3", PF_DTYPE_float8_e4m3fn},
    {"F8_E5M2", PF_DTYPE_float8_e5m2},
};

int32_t dtype_of(const std::string& name) {
  for (const Name& each : kNames)
    if (name == each.safetensors) return each.dtype;
  return -1;
}

int32_t dtype_named(const std::string& name) {
  for (int32_t code = 0; code < PF_DTYPE_COUNT; ++code)
    if (name == dtype_name(code)) return code;
  return -1;
}

std::span<const uint8_t> as_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Of a whole file, with the digest's own digits as zeros.
std::string digest_of(std::span<const uint8_t> bytes, size_t digits_at) {
  const std::string zeros(kDigits, '0');
  Sha256 sum;
  sum.add(bytes.first(digits_at));
  sum.add(as_bytes(zeros));
  sum.add(bytes.subspan(digits_at + kDigits));
  return sum.hex();
}

PackedArray array_of(const HeaderEntry& entry, std::span<const uint8_t> data, const std::string* dtype_text) {
  PackedArray result{dtype_text ? dtype_named(*dtype_text) : dtype_of(entry.dtype), entry.shape, {}};
  const bool ordered = entry.offsets.size() == 2 && entry.offsets[0] <= entry.offsets[1] &&
                       static_cast<uint64_t>(entry.offsets[1]) <= data.size();
  if (result.dtype < 0 || !ordered) throw Error(PF_DATA_LOSS, "");
  // What has a dtype of its own is stored as its bytes, with one axis more where an element has several.
  if (dtype_text && dtype_bytes(result.dtype) > 1) {
    if (result.dims.empty() || result.dims.back() != dtype_bytes(result.dtype)) throw Error(PF_DATA_LOSS, "");
    result.dims.pop_back();
  }
  int64_t bytes = dtype_bytes(result.dtype);
  for (int64_t dim : result.dims)
    if (__builtin_mul_overflow(bytes, dim, &bytes)) throw Error(PF_DATA_LOSS, "");
  if (bytes != entry.offsets[1] - entry.offsets[0]) throw Error(PF_DATA_LOSS, "");
  result.data = data.subspan(static_cast<size_t>(entry.offsets[0]), static_cast<size_t>(bytes));
  return result;
}

}  // namespace

Package parse_package(std::span<const uint8_t> bytes, const std::string& kind, const std::string& where) {
  const auto damaged = [&](const char* what) {
    return Error(PF_DATA_LOSS,
                 text("[", kind, "] ", where, " is truncated or altered: ", what, "; take another copy of the file"));
  };
  uint64_t length;
  if (bytes.size() < sizeof(length)) throw damaged("it is shorter than its head");
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > bytes.size() - sizeof(length)) throw damaged("its head is longer than the file");
  const std::string_view head(reinterpret_cast<const char*>(bytes.data()) + sizeof(length), length);
  Header header;
  if (!parse_header(head, &header)) throw damaged("its head does not parse");
  Package result;
  result.texts = std::move(header.texts);
  if (result.texts[kKind] != kind) {
    const std::string& found = result.texts[kKind];
    throw Error(PF_DATA_LOSS, text("[", kind, "] ", where, " is ", found.empty() ? "no pyflow file" : "a " + found,
                                   ", not a ", kind));
  }
  const std::string& format = result.texts[kFormat];
  if (format.empty() || format.size() > 6 ||
      !std::all_of(format.begin(), format.end(), [](char c) { return c >= '0' && c <= '9'; }))
    throw damaged("it has no version");
  if (std::stoi(format) > kVersion) {
    throw Error(PF_FAILED_PRECONDITION, text("[", kind, "] ", where, " has format version ", format,
                                             "; this pyflow reads up to ", kVersion, "; update pyflow"));
  }
  const std::string& digest = result.texts[kDigest];
  const size_t at = head.find(digest);
  if (digest.size() != kDigits || at == std::string_view::npos || digest_of(bytes, sizeof(length) + at) != digest)
    throw damaged("its digest does not match");
  const std::span<const uint8_t> data = bytes.subspan(sizeof(length) + length);
  for (const auto& [name, entry] : header.entries) {
    const auto own = result.texts.find(kDtype + name);
    try {
      result.arrays[name] = array_of(entry, data, own == result.texts.end() ? nullptr : &own->second);
    } catch (const Error&) {
      throw damaged(("the array '" + name + "' does not fit").c_str());
    }
  }
  return result;
}

std::vector<uint8_t> build_package(const Package& package, const std::string& kind) {
  std::map<std::string, std::string> texts = package.texts;
  texts[kKind] = kind;
  texts[kFormat] = std::to_string(kVersion);
  const std::string zeros(kDigits, '0');
  std::string arrays;
  size_t offset = 0;
  for (const auto& [name, array] : package.arrays) {
    const auto found = std::find_if(std::begin(kNames), std::end(kNames),
                                    [&, dtype = array.dtype](const Name& each) { return each.dtype == dtype; });
    std::string shape;
    for (int64_t dim : array.dims) shape += (shape.empty() ? "" : ",") + std::to_string(dim);
    if (found == std::end(kNames)) {
      texts[kDtype + name] = dtype_name(array.dtype);
      const int64_t size = dtype_bytes(array.dtype);
      if (size > 1) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    }
    arrays += text(",", quoted(name), ":{\"dtype\":\"", found == std::end(kNames) ? "U8" : found->safetensors,
                   "\",\"shape\":[", shape, "],\"data_offsets\":[", offset, ",", offset + array.data.size(), "]}");
    offset += array.data.size();
  }
  std::string head = "{\"__metadata__\":{" + quoted(kDigest) + ":\"";
  const size_t digits_at = sizeof(uint64_t) + head.size();
  head += zeros + "\"";
  for (const auto& [name, value] : texts)
    if (name != kDigest) head += "," + quoted(name) + ":" + quoted(value);
  head += "}" + arrays + "}";
  while (head.size() % 8 != 0) head += ' ';
  const uint64_t length = head.size();
  std::vector<uint8_t> result(sizeof(length) + head.size() + offset);
  std::memcpy(result.data(), &length, sizeof(length));
  std::memcpy(result.data() + sizeof(length), head.data(), head.size());
  uint8_t* to = result.data() + sizeof(length) + head.size();
  for (const auto& [name, array] : package.arrays) {
    if (!array.data.empty()) std::memcpy(to, array.data.data(), array.data.size());
    to += array.data.size();
  }
  const std::string digest = digest_of(result, digits_at);
  std::memcpy(result.data() + digits_at, digest.data(), kDigits);
  return result;
}

MappedFile::MappedFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (file < 0 || fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    const int why = errno;
    if (file >= 0) close(file);
    throw Error(PF_NOT_FOUND, text("there is no file '", path,
                                   "' that can be read: ", file < 0 ? std::strerror(why) : "it is no ordinary file"));
  }
  size_ = static_cast<size_t>(info.st_size);
  data_ = size_ ? mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
  close(file);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    throw Error(PF_RESOURCE_EXHAUSTED, text("'", path, "' (", size_, " bytes) cannot be mapped"));
  }
}

MappedFile::~MappedFile() {
  if (data_) munmap(data_, size_);
}

void write_whole(const std::string& path, std::span<const uint8_t> bytes) {
  std::string partial = path + ".XXXXXX";
  const int file = mkstemp(partial.data());
  if (file < 0) throw Error(PF_NOT_FOUND, text("'", path, "' cannot be written: ", std::strerror(errno)));
  bool good = true;
  for (size_t done = 0; good && done < bytes.size();) {
    const ssize_t count = ::write(file, bytes.data() + done, bytes.size() - done);
    if (count > 0) done += static_cast<size_t>(count);
    good = count > 0 || errno == EINTR;
  }
  good = good && fsync(file) == 0 && fchmod(file, 0644) == 0;
  const int why = errno;
  good = close(file) == 0 && good;
  if (good && rename(partial.c_str(), path.c_str()) == 0) return;
  const int last = good ? errno : why;
  unlink(partial.c_str());
  throw Error(last == ENOSPC ? PF_RESOURCE_EXHAUSTED : PF_NOT_FOUND,
              text("'", path, "' cannot be written: ", std::strerror(last), "; what was there is as it was"));
}

}  // namespace pf
