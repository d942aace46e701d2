// The processors' side of MMIO: one queue in program order to PCI memory, configuration space and the IOMMU.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <string>

#include "config.h"
#include "downstream.h"
#include "waits.h"

namespace myr {

// Register port of the IOMMU, as the hardware sees it.
struct RegPort {
    bool valid = false;
    bool write = false;
    uint32_t address = 0;
    uint32_t data = 0;
};

class Cpu {
  public:
    static constexpr uint32_t kMaxWrite = 64;

    Cpu(const HostConfig& config, Downstream& downstream, Waits& waits)
        : config_(config), downstream_(downstream), waits_(waits) {}

    void write(uint64_t address, const uint8_t* data, uint32_t size);
    // 4 bytes; ends the wait `id` with them, or all ones where nothing answers.
    void read(uint64_t address, uint64_t id);

    // A completion from the NIC. Returns what is wrong with it, or null.
    const char* completion(const Tlp& tlp);
    // One cycle: `accepted`, the register access offered before was taken; then issues what may go.
    void step(bool accepted, bool answered, uint32_t answer);
    const RegPort& port() const { return port_; }
    // Nothing waits here; what was asked for is with the hardware.
    bool idle() const { return queue_.empty() && !port_.valid && !reg_read_open_; }
    // For a person: what the processors have asked for, a line.
    std::string state() const;

  private:
    struct Op {
        bool write;
        uint64_t address;
        uint64_t id;
        uint32_t size;
        std::array<uint8_t, kMaxWrite> data;
    };
    struct Pending {
        bool active = false;
        bool config_write = false;
        uint64_t id = 0;
        uint8_t lower_address = 0;
    };

    bool issue(const Op& op);  // false: not yet
    bool issue_config(const Op& op);
    bool issue_register(const Op& op);
    bool take_tag(uint64_t id, uint8_t lower_address, bool config_write, uint8_t& tag);

    const HostConfig& config_;
    Downstream& downstream_;
    Waits& waits_;
    std::deque<Op> queue_;
    std::array<Pending, 32> pending_{};
    bool config_write_open_ = false;  // processors wait for a configuration write
    RegPort port_;
    bool reg_read_open_ = false;
    uint64_t reg_read_id_ = 0;
};

}  // namespace myr
