#include "capi/header.h"

namespace pf {

namespace {

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool header(Header* header) {
    return object([&](const std::string& name) {
             return name == "__metadata__" ? texts(&header->texts) : entry(&header->entries[name]);
           }) &&
           (space(), text_.empty());
  }

 private:
  void space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n' || text_[0] == '\t' || text_[0] == '\r'))
      text_.remove_prefix(1);
  }

  bool take(char wanted) {
    space();
    if (text_.empty() || text_[0] != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  // `{"name": value, ...}`; member reads the value.
  template <typename Member>
  bool object(Member&& member) {
    if (!take('{')) return false;
    if (take('}')) return true;
    do {
      std::string name;
      if (!string(&name) || !take(':') || !member(name)) return false;
    } while (take(','));
    return take('}');
  }

  bool texts(std::map<std::string, std::string>* result) {
    return object([&](const std::string& name) { return string(&(*result)[name]); });
  }

  bool entry(HeaderEntry* entry) {
    return object([&](const std::string& name) {
      if (name == "dtype") return string(&entry->dtype);
      if (name == "shape") return integers(&entry->shape);
      return name == "data_offsets" && integers(&entry->offsets);
    });
  }

  bool integers(std::vector<int64_t>* result) {
    result->clear();
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      if (!integer(&result->emplace_back())) return false;
    } while (take(','));
    return take(']');
  }

  bool integer(int64_t* result) {
    space();
    *result = 0;
    size_t digits = 0;
    for (; !text_.empty() && text_[0] >= '0' && text_[0] <= '9'; text_.remove_prefix(1), ++digits) {
      if (__builtin_mul_overflow(*result, 10, result) || __builtin_add_overflow(*result, text_[0] - '0', result))
        return false;
    }
    return digits > 0;
  }

  bool string(std::string* result) {
    result->clear();
    if (!take('"')) return false;
    while (!text_.empty() && text_[0] != '"') {
      const char next = text_[0];
      text_.remove_prefix(1);
      if (next != '\\') {
        *result += next;
      } else if (!escape(result)) {
        return false;
      }
    }
    return take('"');
  }

  bool escape(std::string* result) {
    if (text_.empty()) return false;
    const char kind = text_[0];
    text_.remove_prefix(1);
    switch (kind) {
      case '"':
      case '\\':
      case '/':
        *result += kind;
        return true;
      case 'b':
        *result += '\b';
        return true;
      case 'f':
        *result += '\f';
        return true;
      case 'n':
        *result += '\n';
        return true;
      case 'r':
        *result += '\r';
        return true;
      case 't':
        *result += '\t';
        return true;
      default:
        return kind == 'u' && code_point(result);
    }
  }

  bool hex4(uint32_t* result) {
    if (text_.size() < 4) return false;
    *result = 0;
    for (int i = 0; i < 4; ++i) {
      const char digit = text_[i];
      const char lower = static_cast<char>(digit | 0x20);
      if (digit >= '0' && digit <= '9') {
        *result = *result * 16 + static_cast<uint32_t>(digit - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        *result = *result * 16 + static_cast<uint32_t>(lower - 'a' + 10);
      } else {
        return false;
      }
    }
    text_.remove_prefix(4);
    return true;
  }

  bool code_point(std::string* result) {
    uint32_t code;
    if (!hex4(&code)) return false;
    if (code >= 0xd800 && code < 0xdc00) {
      uint32_t low;
      if (text_.substr(0, 2) != "\\u") return false;
      text_.remove_prefix(2);
      if (!hex4(&low) || low < 0xdc00 || low > 0xdfff) return false;
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    auto tail = [&](int shift) { *result += static_cast<char>(0x80 | (code >> shift & 0x3f)); };
    if (code < 0x80) {
      *result += static_cast<char>(code);
    } else if (code < 0x800) {
      *result += static_cast<char>(0xc0 | code >> 6);
      tail(0);
    } else if (code < 0x10000) {
      *result += static_cast<char>(0xe0 | code >> 12);
      tail(6);
      tail(0);
    } else {
      *result += static_cast<char>(0xf0 | code >> 18);
      tail(12);
      tail(6);
      tail(0);
    }
    return true;
  }

  std::string_view text_;
};

}  // namespace

bool parse_header(std::string_view text, Header* header) {
  return Reader(text).header(header);
}

std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char each : text) {
    if (each == '"' || each == '\\') {
      result += '\\';
      result += each;
    } else if (static_cast<unsigned char>(each) < 0x20) {
      result += "\\u00";
      result += "0123456789abcdef"[each >> 4];
      result += "0123456789abcdef"[each & 15];
    } else {
      result += each;
    }
  }
  return result + "\"";
}

}  // namespace pf
