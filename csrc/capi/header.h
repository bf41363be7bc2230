// The header of a safetensors file: JSON objects of strings, integers and lists of integers, and nothing else.
#ifndef PYFLOW_CAPI_HEADER_H
#define PYFLOW_CAPI_HEADER_H

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace pf {

struct HeaderEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<int64_t> offsets;
};

struct Header {
  std::map<std::string, std::string> texts;
  std::map<std::string, HeaderEntry> entries;
};

// False for text that is no such header.
bool parse_header(std::string_view text, Header* header);

// `text` as a JSON string with its quotes.
std::string quoted(std::string_view text);

}  // namespace pf

#endif
