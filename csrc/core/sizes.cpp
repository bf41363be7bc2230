#include "core/sizes.h"

#include <algorithm>

#include "core/status.h"

namespace pf {

namespace {

constexpr const char* kNames[kSizeOps] = {"", "", "+", "*", "floordiv", "mod", "max", "min", "broadcast", "unless_one"};
constexpr size_t kDescriptionLength = 160;

bool has_operands(SizeOp op) {
  return op != SizeOp::Const && op != SizeOp::Symbol;
}

}  // namespace

void SizeTable::validate() {
  depends_.assign(rows.size(), 0);
  std::vector<uint32_t> first_use(symbols.size(), UINT32_MAX);
  for (size_t index = 0; index < rows.size(); ++index) {
    const SizeRow& row = rows[index];
    auto bad = [&](const char* what) { throw Error(PF_DATA_LOSS, text("the plan's size row ", index, " ", what)); };
    if (row.op == SizeOp::Symbol) {
      if (row.a < 0 || static_cast<uint64_t>(row.a) >= symbols.size()) bad("names a symbol that is not there");
      first_use[row.a] = std::min(first_use[row.a], static_cast<uint32_t>(index));
      depends_[index] = kSymbolic | (symbols[row.a].late ? kLate : 0);
    } else if (has_operands(row.op)) {
      for (int64_t operand : {row.a, row.b}) {
        if (operand < 0 || static_cast<uint64_t>(operand) >= index) bad("refers to a row that is not before it");
        depends_[index] |= depends_[operand];
      }
    }
  }
  for (size_t index = 0; index < symbols.size(); ++index) {
    const Symbol& symbol = symbols[index];
    auto bad = [&](const char* what) {
      throw Error(PF_DATA_LOSS, text("the plan's symbol '", symbol.name, "' ", what));
    };
    if (symbol.min < 0 && !symbol.late) bad("has a negative lower bound");
    if (symbol.bound == -1) continue;
    if (symbol.bound < 0 || static_cast<size_t>(symbol.bound) >= rows.size()) bad("has an upper bound that is no size");
    const SizeRow& bound = rows[symbol.bound];
    if (bound.op == SizeOp::Const) {
      if (bound.a < symbol.min) bad("has an upper bound below its lower bound");
    } else if (!symbol.late || static_cast<uint32_t>(symbol.bound) >= first_use[index]) {
      bad("has an upper bound that is not known before it");
    }
  }
}

std::vector<Row> SizeTable::closure(std::span<const Row> roots) const {
  std::vector<uint8_t> seen(rows.size());
  std::vector<Row> result, pending(roots.begin(), roots.end());
  auto push = [&](int64_t row) {
    if (!seen[row]) pending.push_back(static_cast<Row>(row));
  };
  while (!pending.empty()) {
    Row index = pending.back();
    pending.pop_back();
    if (seen[index]) continue;
    seen[index] = 1;
    result.push_back(index);
    const SizeRow& row = rows[index];
    if (row.op == SizeOp::Symbol) {
      if (symbols[row.a].bound >= 0) push(symbols[row.a].bound);
    } else if (has_operands(row.op)) {
      push(row.a);
      push(row.b);
    }
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::vector<uint32_t> SizeTable::late_symbols(std::span<const Row> closed) const {
  std::vector<uint32_t> result;
  for (Row row : closed) {
    if (rows[row].op == SizeOp::Symbol && symbols[rows[row].a].late) {
      result.push_back(static_cast<uint32_t>(rows[row].a));
    }
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

std::string SizeTable::describe(Row root) const {
  std::string result;
  struct Part {
    const char* literal;
    Row row;
  };
  std::vector<Part> pending{{nullptr, root}};
  while (!pending.empty() && result.size() < kDescriptionLength) {
    Part part = pending.back();
    pending.pop_back();
    if (part.literal) {
      result += part.literal;
      continue;
    }
    const SizeRow& row = rows[part.row];
    const Row a = static_cast<Row>(row.a), b = static_cast<Row>(row.b);
    if (row.op == SizeOp::Const) {
      result += std::to_string(row.a);
    } else if (row.op == SizeOp::Symbol) {
      result += symbols[row.a].name;
    } else if (row.op == SizeOp::Add || row.op == SizeOp::Mul) {
      const bool sum = row.op == SizeOp::Add;
      if (sum) result += "(";
      pending.insert(pending.end(),
                     {{sum ? ")" : "", 0}, {nullptr, b}, {kNames[static_cast<int>(row.op)], 0}, {nullptr, a}});
    } else {
      result += kNames[static_cast<int>(row.op)];
      result += "(";
      pending.insert(pending.end(), {{")", 0}, {nullptr, b}, {", ", 0}, {nullptr, a}});
    }
  }
  return pending.empty() ? result : result + "...";
}

SizeValues::State SizeValues::compute(const SizeRow& row, std::span<const SymbolValue> symbols, int64_t* result) const {
  if (row.op == SizeOp::Const) {
    *result = row.a;
    return State::Known;
  }
  if (row.op == SizeOp::Symbol) {
    if (symbols[row.a].known) {
      *result = symbols[row.a].value;
      return State::Known;
    }
    const Symbol& symbol = table_->symbols[row.a];
    if (!symbol.late || symbol.bound < 0) return State::Unknown;
    const SizeRow& bound = table_->rows[symbol.bound];
    *result = bound.op == SizeOp::Const ? bound.a : values_[symbol.bound];
    return bound.op == SizeOp::Const || states_[symbol.bound] == State::Known ? State::Known : State::Operand;
  }
  if (states_[row.a] != State::Known || states_[row.b] != State::Known) return State::Operand;
  const int64_t a = values_[row.a], b = values_[row.b];
  switch (row.op) {
    case SizeOp::Add:
      return __builtin_add_overflow(a, b, result) ? State::Overflow : State::Known;
    case SizeOp::Mul:
      return __builtin_mul_overflow(a, b, result) ? State::Overflow : State::Known;
    case SizeOp::FloorDiv:
    case SizeOp::Mod: {
      if (b == 0) return State::ZeroDivision;
      if (b == -1) {
        if (row.op == SizeOp::Mod) *result = 0;
        return row.op == SizeOp::FloorDiv && __builtin_sub_overflow(int64_t{0}, a, result) ? State::Overflow
                                                                                           : State::Known;
      }
      const int64_t remainder = a % b;
      const bool down = remainder != 0 && (remainder < 0) != (b < 0);
      *result = row.op == SizeOp::Mod ? remainder + (down ? b : 0) : a / b - (down ? 1 : 0);
      return State::Known;
    }
    case SizeOp::Max:
      *result = std::max(a, b);
      return State::Known;
    case SizeOp::Min:
      *result = std::min(a, b);
      return State::Known;
    case SizeOp::Broadcast:
      *result = a == 1 ? b : a;
      return a == b || a == 1 || b == 1 ? State::Known : State::Mismatch;
    case SizeOp::UnlessOne:
      *result = a == 1 ? 0 : b;
      return State::Known;
    default:
      return State::Unknown;
  }
}

void SizeValues::evaluate(std::span<const Row> closed, std::span<const SymbolValue> symbols) {
  for (Row row : closed) states_[row] = compute(table_->rows[row], symbols, &values_[row]);
}

void SizeValues::fail(Row row) const {
  while (states_[row] == State::Operand) {
    const SizeRow& cell = table_->rows[row];
    if (cell.op == SizeOp::Symbol) {
      row = static_cast<Row>(table_->symbols[cell.a].bound);
    } else {
      row = static_cast<Row>(states_[cell.a] != State::Known ? cell.a : cell.b);
    }
  }
  const SizeRow& cell = table_->rows[row];
  const std::string expression = table_->describe(row);
  switch (states_[row]) {
    case State::Overflow:
      throw Error(PF_INVALID_ARGUMENT,
                  text("the size ", expression, " is beyond 64 bits for ", values_[cell.a], " and ", values_[cell.b]));
    case State::ZeroDivision:
      throw Error(PF_INVALID_ARGUMENT, text("the size ", expression, " divides ", values_[cell.a], " by zero"));
    case State::Mismatch:
      throw Error(PF_INVALID_ARGUMENT, text("sizes ", values_[cell.a], " and ", values_[cell.b],
                                            " do not broadcast; expected ", expression, " to have equal sides or a 1"));
    default:
      throw Error(PF_INVALID_ARGUMENT, text("the size ", expression, " has no value here"));
  }
}

}  // namespace pf
