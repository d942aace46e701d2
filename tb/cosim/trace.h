// The trace: 16-byte records in the order of (cycle, kind).
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace myr {

// As `trace_record` of the register source.
struct TraceRecord {
    uint64_t cycle;
    uint8_t kind;
    uint8_t endpoint;
    uint16_t index;
    uint32_t info;
};
static_assert(sizeof(TraceRecord) == 16, "trace_record is 16 bytes");

// trace_kind_e, the host's own events
constexpr uint8_t kTraceCplVisible = 10;
constexpr uint8_t kTraceRxCplVisible = 21;
constexpr uint8_t kTraceIrqVisible = 22;

// With MYR_TRACE_FILE in the environment, all records of the run end up in that file as well.
class Trace {
  public:
    Trace() {
        if (const char* path = std::getenv("MYR_TRACE_FILE")) file_ = std::fopen(path, "wb");
    }
    ~Trace() {
        if (file_ == nullptr) return;
        save();
        std::fclose(file_);
    }
    Trace(const Trace&) = delete;
    Trace& operator=(const Trace&) = delete;

    void add(const TraceRecord& record) {
        records_.push_back(record);
        // an event may be told a few cycles late (its age), and those of one cycle come from different calls
        for (size_t i = records_.size() - 1; i > 0; --i) {
            TraceRecord& before = records_[i - 1];
            if (before.cycle < record.cycle || (before.cycle == record.cycle && before.kind <= record.kind)) break;
            std::swap(before, records_[i]);
        }
    }
    const std::vector<TraceRecord>& records() const { return records_; }
    void clear() {
        save();
        records_.clear();
    }

  private:
    void save() {
        if (file_ != nullptr) std::fwrite(records_.data(), sizeof(TraceRecord), records_.size(), file_);
    }

    std::vector<TraceRecord> records_;
    std::FILE* file_ = nullptr;
};

}  // namespace myr
