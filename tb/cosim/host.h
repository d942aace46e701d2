// One machine's host side: everything of the co-simulation that is not RTL and not Python.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "completer.h"
#include "config.h"
#include "cpu.h"
#include "credits.h"
#include "downstream.h"
#include "memory.h"
#include "rng.h"
#include "trace.h"
#include "upstream.h"
#include "waits.h"
#include "walker.h"
#include "wire.h"
#include "wire_in.h"

namespace myr {

// Words of host_in_t (myr_host_pkg.sv), word 0 first.
struct HostIn {
    uint64_t cycle;
    uint64_t rx_fc;
    uint64_t up_data;
    uint64_t walk_address;
    uint32_t walk_data;
    uint32_t flags;
    uint32_t reg_data;
    uint32_t tx_watch;
};
static_assert(sizeof(HostIn) == 48, "host_in_t is 384 bits");

enum HostInFlag : uint32_t {
    kUpValid = 1 << 0,
    kUpLast = 1 << 1,
    kUpHalf = 1 << 2,
    kDnReady = 1 << 3,
    kWalkValid = 1 << 4,
    kWalkWrite = 1 << 5,
    kRegReady = 1 << 6,
    kRegRvalid = 1 << 7,
    kTimed = 1 << 13,
};
constexpr uint32_t kWalkIdShift = 8;
constexpr uint32_t kWatchFirst = 1 << 10;
constexpr uint32_t kWatchLast = 1 << 11;

// Words of host_out_t.
struct HostOut {
    uint64_t dn_data;
    uint64_t tx_fc;
    uint64_t walk_low;
    uint64_t walk_high;
    uint64_t wire_data;
    uint32_t posted_landed;
    uint32_t flags;
    uint32_t reg_address;
    uint32_t reg_data;
};
static_assert(sizeof(HostOut) == 56, "host_out_t is 448 bits");

enum HostOutFlag : uint32_t {
    kUpReady = 1 << 0,
    kDnValid = 1 << 1,
    kDnLast = 1 << 2,
    kDnHalf = 1 << 3,
    kWalkReady = 1 << 4,
    kWalkRspValid = 1 << 5,
    kWalkRspError = 1 << 6,
    kRegValid = 1 << 7,
    kRegWrite = 1 << 8,
    kStallUp = 1 << 9,
    kStallDn = 1 << 10,
    kWake = 1 << 11,
};
constexpr uint32_t kWalkRspIdShift = 12;
constexpr uint32_t kWireValid = 1 << 17;
constexpr uint32_t kWireFirst = 1 << 18;
constexpr uint32_t kWireLast = 1 << 19;
constexpr uint32_t kWireError = 1 << 20;
constexpr uint32_t kWireBytesShift = 21;

class Host;
// That of the model; null: it has none.
Host* attached();

class Host {
  public:
    explicit Host(const HostConfig& config);
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    // One clock edge: what the hardware shows in this cycle; the result is what it sees in the next one.
    const HostOut& cycle(const HostIn& in);
    // What `cycle` returned last.
    const HostOut& shown() const { return out_; }
    void wire_beat(uint64_t cycle, uint64_t data, uint32_t count, bool first, bool last);

    // A wait that the next complete frame on the wire ends; false: there is one already, and no wait begins.
    bool wire_wait(uint64_t id, uint64_t deadline);

    Memory& memory() { return memory_; }
    Completer& completer() { return completer_; }
    Cpu& cpu() { return cpu_; }
    Waits& waits() { return waits_; }
    Trace& trace() { return trace_; }
    Wire& wire() { return wire_; }
    WireIn& wire_in() { return wire_in_; }
    const uint64_t& now() const { return now_; }
    // For the protocol checkers, see myr_host_checks.
    uint32_t checks() const;
    // The first rule that the hardware has broken, or empty.
    const std::string& error() const { return error_; }
    // For a person: what is under way and what waits for what. Valid until the next call.
    const std::string& state();
    // Cycles up to now in which neither this side nor the hardware's pins had anything to do.
    uint64_t quiet() const { return idle() && waits_.events().empty() ? quiet_ : 0; }
    // Cycle in which a wait ends by time at the earliest.
    uint64_t due() const { return waits_.due(); }
    bool skips() const { return config_.skip != 0 && !disturbed_; }
    // Nothing holds the hardware up in the next cycle.
    bool open() const { return (out_.flags & (kStallUp | kStallDn | kUpReady)) == kUpReady; }
    // The hardware was changed behind the pins' back: from now on every cycle is evaluated.
    void disturb() { disturbed_ = true; }
    // At the next edge, `cycles` more go by at once; this side and the hardware stay as they are in all of them.
    void skip(uint64_t cycles) { skip_ = cycles; }
    // How many went by at the last edge beside its own.
    uint64_t skipped() const { return skipped_; }
    uint64_t skipped_so_far() const { return skipped_so_far_; }
    // Python has taken the events.
    void drained() { waits_.events().clear(); signalled_ = false; }

  private:
    bool idle() const {
        return cpu_.idle() && downstream_.idle() && upstream_.idle() && walker_.waiting() == 0 && completer_.idle() &&
               wire_in_.waiting() == 0 && credits_.idle();
    }
    // What depends on the cycle alone: stalls, and credits that are held back.
    uint32_t disturbances(uint64_t cycle);
    void fail(const std::string& message);
    void wake();

    const HostConfig config_;
    Memory memory_;
    Waits waits_;
    Trace trace_;
    Wire wire_;
    WireIn wire_in_;
    std::vector<uint64_t> wire_waits_;
    Completer completer_;
    Downstream downstream_;
    Cpu cpu_;
    Upstream upstream_;
    Walker walker_;
    CreditGrant credits_;
    Rng link_rng_;
    Rng rc_rng_;
    HostOut out_{};
    uint64_t now_ = 0;
    uint64_t quiet_ = 0;
    uint64_t skip_ = 0;
    bool disturbed_ = false;
    uint64_t skipped_ = 0;
    uint64_t skipped_so_far_ = 0;
    uint64_t nic_limits_ = 0;  // credits that the NIC grants, packed
    bool signalled_ = false;
    bool wake_ = false;
    std::string error_;
    std::string state_;
};

}  // namespace myr
