// What Python sleeps on: memory monitors (MONITOR/MWAIT), time, and answers to its reads. One event ends each wait;
// interrupts are events by themselves.
#pragma once
#include <cstdint>
#include <queue>
#include <unordered_map>
#include <vector>

#include "memory.h"

namespace myr {

enum WaitStatus : uint32_t { kDone = 0, kTimeout = 1, kInterrupt = 2 };

struct Event {
    uint64_t id;  // of the wait that ends; of kInterrupt: its address
    uint32_t status;
    uint32_t data;
};

class Waits {
  public:
    static constexpr uint32_t kMaxMonitorBytes = 64;

    explicit Waits(const Memory& memory) : memory_(memory) {}

    // A wait that ends by `finish` or, at `deadline` (cycle), by time.
    void begin(uint64_t id, uint64_t deadline);
    // A wait that also ends when a device's write makes memory & mask == expected. The range lies in one page.
    void begin_monitor(uint64_t id, uint64_t deadline, uint64_t address, const uint8_t* expected, const uint8_t* mask,
                       uint32_t size);
    void finish(uint64_t id, uint32_t data);
    // An interrupt message has reached the processor; ends no wait.
    void interrupt(uint64_t address, uint32_t data) { events_.push_back({address, kInterrupt, data}); }
    bool active(uint64_t id) const { return live_.count(id) != 0; }
    bool matches(uint64_t address, const uint8_t* expected, const uint8_t* mask, uint32_t size) const;

    // Bytes at `address` (within one page) have changed.
    void landed(uint64_t address);
    void tick(uint64_t cycle) {
        while (!deadlines_.empty() && deadlines_.top().first <= cycle) expire();
    }

    std::vector<Event>& events() { return events_; }
    const std::vector<Event>& events() const { return events_; }
    // Cycle at which a wait ends by time at the earliest; all ones: none does.
    uint64_t due() const { return deadlines_.empty() ? ~0ULL : deadlines_.top().first; }

  private:
    struct Monitor {
        uint64_t id;
        uint64_t address;
        uint32_t size;
        uint8_t expected[kMaxMonitorBytes];
        uint8_t mask[kMaxMonitorBytes];
    };
    using Deadline = std::pair<uint64_t, uint64_t>;  // cycle, id
    static constexpr uint64_t kNoPage = ~0ULL;

    void expire();
    void end(uint64_t id, WaitStatus status, uint32_t data);

    const Memory& memory_;
    std::unordered_map<uint64_t, uint64_t> live_;  // id -> page of its monitor or kNoPage
    std::unordered_map<uint64_t, std::vector<Monitor>> monitors_;  // by page
    std::priority_queue<Deadline, std::vector<Deadline>, std::greater<Deadline>> deadlines_;
    std::vector<Event> events_;
};

}  // namespace myr
