// Plan bytes -> Plan. Every count is bounded by the bytes that are left before anything is allocated for it.
#include "core/plan.h"

#include <array>
#include <cstring>

#include "core/dtype.h"
#include "core/status.h"

namespace pf {

namespace {

constexpr char kMagic[] = "PYFLPLAN";
constexpr size_t kMagicSize = 8;

uint32_t crc32(std::span<const uint8_t> bytes) {
  static const auto kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t index = 0; index < 256; ++index) {
      uint32_t value = index;
      for (int bit = 0; bit < 8; ++bit) value = value & 1 ? 0xEDB88320u ^ (value >> 1) : value >> 1;
      table[index] = value;
    }
    return table;
  }();
  uint32_t crc = 0xFFFFFFFFu;
  for (uint8_t byte : bytes) crc = kTable[(crc ^ byte) & 0xFF] ^ (crc >> 8);
  return ~crc;
}

// Length of the UTF-8 character that starts at `at`, 0 if there is none. NUL counts as none: names become C strings.
size_t utf8_length(std::span<const uint8_t> bytes, size_t at) {
  const uint8_t lead = bytes[at];
  const size_t length = lead < 0x80 ? 1 : lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
  if (lead == 0 || length == 0 || length > bytes.size() - at) return 0;
  uint32_t code = length == 1 ? lead : lead & (0x7F >> length);
  for (size_t index = 1; index < length; ++index) {
    if (bytes[at + index] >> 6 != 2) return 0;
    code = code << 6 | (bytes[at + index] & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  return code < kSmallest[length] || code > 0x10FFFF || surrogate ? 0 : length;
}

class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  Plan plan() {
    Plan plan;
    where_ = "the table of symbols";
    list(plan.sizes.symbols, 17, [this] { return symbol(); });
    where_ = "the table of sizes";
    list(plan.sizes.rows, 17, [this] { return size_row(); });
    rows_ = plan.sizes.rows.size();
    symbols_ = plan.sizes.symbols.size();
    where_ = "the head";
    plan.slots = number<uint32_t>();
    plan.numerics = string();
    where_ = "the buffers";
    list(plan.buffers, 18, [this] { return buffer(); });
    where_ = "the steps";
    list(plan.bodies, 4, [this] {
      std::vector<Step> steps;
      list(steps, 45, [this] { return step(); });
      return steps;
    });
    where_ = "the entries";
    list(plan.entries, 40, [this] { return entry(); });
    if (at_ != bytes_.size()) bad(text(bytes_.size() - at_, " bytes are left over"));
    return plan;
  }

 private:
  [[noreturn]] void bad(const std::string& what) const {
    throw Error(PF_DATA_LOSS, text("the plan's bytes are damaged in ", where_, " at byte ", at_, ": ", what,
                                   "; compile or copy the plan again"));
  }

  size_t left() const { return bytes_.size() - at_; }

  template <typename T>
  T number() {
    if (left() < sizeof(T)) bad("they end early");
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  // `smallest`: the fewest bytes an item takes.
  size_t count(size_t smallest) {
    const size_t items = number<uint32_t>();
    if (items > left() / smallest) bad(text("a list of ", items, " items does not fit"));
    return items;
  }

  template <typename T, typename Read>
  void list(std::vector<T>& items, size_t smallest, Read&& read) {
    const size_t items_count = count(smallest);
    items.reserve(items_count);
    for (size_t index = 0; index < items_count; ++index) items.push_back(read());
  }

  std::string string() {
    const size_t length = count(1);
    const auto part = bytes_.subspan(at_, length);
    for (size_t index = 0; index < length;) {
      const size_t step = utf8_length(part, index);
      if (step == 0) bad("a text is not UTF-8");
      index += step;
    }
    at_ += length;
    return std::string(reinterpret_cast<const char*>(part.data()), length);
  }

  bool boolean() {
    const uint8_t value = number<uint8_t>();
    if (value > 1) bad("a flag is neither 0 nor 1");
    return value == 1;
  }

  int32_t dtype() {
    const uint8_t code = number<uint8_t>();
    if (!is_dtype(code)) bad(text("dtype code ", code, " is unknown"));
    return code;
  }

  Row size() {
    const uint32_t row = number<uint32_t>();
    if (row >= rows_) bad(text("size ", row, " is not in the table of ", rows_));
    return row;
  }

  uint32_t symbol_index() {
    const uint32_t index = number<uint32_t>();
    if (index >= symbols_) bad(text("symbol ", index, " is not in the table of ", symbols_));
    return index;
  }

  Symbol symbol() {
    Symbol result;
    result.name = string();
    result.min = number<int64_t>();
    result.bound = number<int32_t>();
    result.late = boolean();
    return result;
  }

  SizeRow size_row() {
    const uint8_t op = number<uint8_t>();
    if (op >= kSizeOps) bad(text("size operation ", op, " is unknown"));
    const int64_t a = number<int64_t>(), b = number<int64_t>();
    return {static_cast<SizeOp>(op), a, b};
  }

  Buffer buffer() {
    Buffer result;
    const uint8_t kind = number<uint8_t>();
    if (kind >= kKinds) bad(text("buffer kind ", kind, " is unknown"));
    result.kind = static_cast<Kind>(kind);
    result.dtype = dtype();
    result.elements = size();
    result.name = string();
    result.slot = number<int32_t>();
    result.backend = string();
    return result;
  }

  View view() {
    View result;
    result.buffer = number<uint32_t>();
    result.dtype = dtype();
    list(result.dims, 4, [this] { return size(); });
    list(result.strides, 4, [this] { return size(); });
    result.offset = size();
    return result;
  }

  Instr instr() {
    Instr result;
    result.op = string();
    result.dtype = dtype();
    list(result.args, 4, [this] { return number<int32_t>(); });
    result.imm = number<uint64_t>();
    return result;
  }

  Program program() {
    Program result;
    list(result.inputs, 1, [this] { return dtype(); });
    list(result.instrs, 17, [this] { return instr(); });
    list(result.outputs, 4, [this] { return number<int32_t>(); });
    return result;
  }

  Step step() {
    Step result;
    result.action = Action::Kernel;
    result.kernel = string();
    result.backend = string();
    list(result.inputs, 17, [this] { return view(); });
    list(result.outputs, 17, [this] { return view(); });
    list(result.ints, 4, [this] { return size(); });
    list(result.floats, 8, [this] { return number<double>(); });
    list(result.programs, 12, [this] { return program(); });
    list(result.bodies, 4, [this] { return number<uint32_t>(); });
    list(result.defines, 4, [this] { return symbol_index(); });
    result.fallible = boolean();
    result.text = string();
    result.origin = string();
    return result;
  }

  Port port() {
    std::string name = string();
    return {std::move(name), view()};
  }

  Entry entry() {
    Entry result;
    result.name = string();
    list(result.inputs, 21, [this] { return port(); });
    list(result.outputs, 21, [this] { return port(); });
    list(result.solves, 28, [this] {
      Solve solve;
      solve.symbol = symbol_index();
      solve.input = number<uint32_t>();
      solve.axis = number<uint32_t>();
      solve.scale = number<int64_t>();
      solve.shift = number<int64_t>();
      return solve;
    });
    list(result.checks, 12, [this] {
      const Row left = size(), right = size();
      return Check{left, right, string()};
    });
    list(result.commits, 21, [this] {
      const uint32_t variable = number<uint32_t>();
      return Commit{variable, view()};
    });
    list(result.reads, 4, [this] { return number<uint32_t>(); });
    list(result.prepares, 12, [this] {
      Prepare prepare;
      prepare.body = number<uint32_t>();
      list(prepare.sources, 4, [this] { return number<uint32_t>(); });
      list(prepare.results, 4, [this] { return number<uint32_t>(); });
      return prepare;
    });
    result.body = number<uint32_t>();
    result.last_cancellable = number<int32_t>();
    return result;
  }

  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
  size_t rows_ = 0;
  size_t symbols_ = 0;
  const char* where_ = "the head";
};

}  // namespace

const char* kind_name(Kind kind) {
  constexpr const char* kNames[kKinds] = {"input", "output", "constant", "variable", "prepared", "temporary"};
  return kNames[static_cast<int>(kind)];
}

void fail_check(const Check& check, int64_t left, int64_t right) {
  std::string message = check.message;
  size_t from = 0;
  for (int64_t number : {left, right}) {
    const size_t place = message.find("{}", from);
    if (place == std::string::npos) break;
    const std::string shown = std::to_string(number);
    message.replace(place, 2, shown);
    from = place + shown.size();
  }
  throw Error(PF_INVALID_ARGUMENT, message);
}

Plan parse_plan(std::span<const uint8_t> bytes) {
  constexpr size_t kHead = kMagicSize + 8;
  if (bytes.size() < kHead || std::memcmp(bytes.data(), kMagic, kMagicSize) != 0) {
    throw Error(PF_DATA_LOSS, text("these ", bytes.size(),
                                   " bytes are no plan; expected what Plan.to_bytes() made, which "
                                   "starts with ",
                                   kMagic));
  }
  uint32_t version, crc;
  std::memcpy(&version, bytes.data() + kMagicSize, 4);
  std::memcpy(&crc, bytes.data() + kMagicSize + 4, 4);
  if (version > kPlanVersion) {
    throw Error(PF_FAILED_PRECONDITION,
                text("the plan has format version ", version, "; this pyflow reads up to version ", kPlanVersion,
                     "; use a newer pyflow or compile the plan with this one"));
  }
  if (version == 0) throw Error(PF_DATA_LOSS, "the plan's bytes are damaged: format version 0 never was");
  if (version < kOldestPlanVersion) {
    throw Error(PF_FAILED_PRECONDITION,
                text("the plan has format version ", version, "; this pyflow reads versions from ", kOldestPlanVersion,
                     " on, as weights are packed in another way since; save the plan again with this pyflow"));
  }
  const auto content = bytes.subspan(kHead);
  if (crc32(content) != crc) {
    throw Error(PF_DATA_LOSS, text("the plan's bytes are damaged: their checksum is not the one that was written (",
                                   bytes.size(), " bytes); copy or compile the plan again"));
  }
  Plan plan = Reader(content).plan();
  validate_plan(plan);
  return plan;
}

}  // namespace pf
