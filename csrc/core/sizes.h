// The plan's table of size expressions. A row refers to earlier rows only, so one walk in order evaluates it.
#ifndef PYFLOW_CORE_SIZES_H
#define PYFLOW_CORE_SIZES_H

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pf {

using Row = uint32_t;

// The rows of SizeOp in pyflow/plan.py.
enum class SizeOp : uint8_t { Const, Symbol, Add, Mul, FloorDiv, Mod, Max, Min, Broadcast, UnlessOne };
inline constexpr uint8_t kSizeOps = 10;

struct SizeRow {
  SizeOp op;
  int64_t a;
  int64_t b;
};

struct Symbol {
  std::string name;
  int64_t min;
  int32_t bound;  // row of the upper bound, -1 for none
  bool late;      // a step of the run defines it
};

// What is known of the symbols: a late one without a value stands at its upper bound, if it has one.
struct SymbolValue {
  int64_t value = 0;
  bool known = false;
};

class SizeTable {
 public:
  std::vector<Symbol> symbols;
  std::vector<SizeRow> rows;

  // Checks what can be checked without values and fills what the questions below read. Throws Error.
  void validate();

  bool is_late(Row row) const { return depends_[row] & kLate; }
  bool is_constant(Row row) const { return depends_[row] == 0; }
  // The rows that evaluating `roots` needs, in order, without repeats.
  std::vector<Row> closure(std::span<const Row> roots) const;
  // The late symbols among them, in order.
  std::vector<uint32_t> late_symbols(std::span<const Row> closed) const;
  // The expression in the notation of pyflow/dims.py, shortened.
  std::string describe(Row row) const;

 private:
  static constexpr uint8_t kSymbolic = 1;
  static constexpr uint8_t kLate = 2;
  std::vector<uint8_t> depends_;
};

class SizeValues {
 public:
  explicit SizeValues(const SizeTable& table)
      : table_(&table), values_(table.rows.size()), states_(table.rows.size()) {}

  // Evaluates `closed` (from SizeTable::closure). A row that cannot be computed says so when it is read.
  void evaluate(std::span<const Row> closed, std::span<const SymbolValue> symbols);
  // Throws Error: overflow, division by zero, sizes that do not broadcast, a symbol without a value.
  int64_t operator[](Row row) const {
    if (states_[row] != State::Known) fail(row);
    return values_[row];
  }
  bool known(Row row) const { return states_[row] == State::Known; }

 private:
  enum class State : uint8_t { Unknown, Known, Overflow, ZeroDivision, Mismatch, Operand };
  [[noreturn]] void fail(Row row) const;
  State compute(const SizeRow& row, std::span<const SymbolValue> symbols, int64_t* result) const;

  const SizeTable* table_;
  std::vector<int64_t> values_;
  std::vector<State> states_;
};

}  // namespace pf

#endif
