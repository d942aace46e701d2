// The root complex as receiver from the NIC: checks TLPs, lands writes in memory in order, hands on the rest.
#pragma once
#include <cstdint>
#include <deque>
#include <string>

#include "completer.h"
#include "config.h"
#include "memory.h"
#include "tlp.h"
#include "trace.h"
#include "waits.h"

namespace myr {

class Cpu;

class Upstream {
  public:
    Upstream(const HostConfig& config, Memory& memory, Completer& completer, Waits& waits, Trace& trace)
        : config_(config), memory_(memory), completer_(completer), waits_(waits), trace_(trace) {}

    // Returns a sentence when the NIC has broken a rule, else an empty string.
    std::string beat(uint64_t cycle, uint64_t data, bool last, bool half);
    // A status write of the IOMMU: lands in order with the NIC's writes.
    void status_write(uint64_t cycle, uint64_t address, uint32_t value);
    // Lands what is due; answers to the CPU's reads go to `cpu`.
    std::string land(uint64_t cycle, Cpu& cpu);
    // MWr TLPs visible in memory.
    uint64_t landed() const { return landed_; }
    bool idle() const { return open_.empty() && landing_.empty(); }
    // TLPs received that have not landed.
    uint64_t waiting() const { return landing_.size(); }

  private:
    struct Landing {
        uint64_t due;
        bool status;  // 4 bytes of the IOMMU: tlp is {address high, address low, value}
        Tlp tlp;
    };

    std::string accept(uint64_t cycle);
    std::string check(const MemRequest& r, uint32_t limit) const;
    void land_write(uint64_t cycle, const Tlp& tlp);
    void store(const Tlp& tlp, const MemRequest& r);

    const HostConfig& config_;
    Memory& memory_;
    Completer& completer_;
    Waits& waits_;
    Trace& trace_;
    Tlp open_;
    std::deque<Landing> landing_;
    uint64_t received_ = 0;  // MWr TLPs
    uint64_t landed_ = 0;
};

}  // namespace myr
