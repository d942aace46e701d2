// C entry points: for SystemVerilog (myr_top.sv, DPI) and for Python (tb/cosim/platform.py, ctypes).
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "host.h"

namespace {

// The instances of this process by HostId.
std::map<uint32_t, std::unique_ptr<myr::Host>>& registry() {
    static std::map<uint32_t, std::unique_ptr<myr::Host>> hosts;
    return hosts;
}

myr::Host* of_model = nullptr;

myr::Host* self(void* host) { return static_cast<myr::Host*>(host); }

}  // namespace

myr::Host* myr::attached() { return of_model; }

extern "C" {

// ---- SystemVerilog -------------------------------------------------------------------------------------------------

void* myr_host_attach(uint32_t id) {
    const auto host = registry().find(id);
    of_model = host == registry().end() ? nullptr : host->second.get();
    return of_model;
}

// Bit 0: the protocol checkers are on; bit 1: credits come back within a few hundred cycles.
uint32_t myr_host_checks(void* host) { return self(host)->checks(); }

// Bit 0: an output changes; above: cycles that go by beside this one.
uint32_t myr_host_cycle(void* host, const uint32_t* in_words, uint32_t* out_words) {
    myr::HostIn in;
    std::memcpy(&in, in_words, sizeof in);
    const myr::HostOut before = self(host)->shown();
    const myr::HostOut& out = self(host)->cycle(in);
    const auto skipped = static_cast<uint32_t>(self(host)->skipped()) << 1;
    if (std::memcmp(&before, &out, sizeof out) == 0) return skipped;
    std::memcpy(out_words, &out, sizeof out);
    return skipped | 1;
}

void myr_host_wire(void* host, uint64_t cycle, uint64_t data, uint32_t bytes, uint8_t first, uint8_t last) {
    self(host)->wire_beat(cycle, data, bytes, first != 0, last != 0);
}

void myr_host_trace(void* host, uint64_t cycle, uint32_t kind, uint32_t endpoint, uint32_t index, uint32_t info) {
    self(host)->trace().add({cycle, static_cast<uint8_t>(kind), static_cast<uint8_t>(endpoint),
                             static_cast<uint16_t>(index), info});
}

// ---- Python --------------------------------------------------------------------------------------------------------

// Null when the id is taken, the struct's size differs or memory is short.
void* myr_host_create(uint32_t id, const myr::HostConfig* config, uint64_t config_bytes) {
    if (config_bytes != sizeof *config || registry().count(id) != 0) return nullptr;
    try {
        return (registry()[id] = std::make_unique<myr::Host>(*config)).get();
    } catch (const std::bad_alloc&) {
        registry().erase(id);
        return nullptr;
    }
}

uint8_t* myr_host_memory(void* host) { return self(host)->memory().data(); }
const uint64_t* myr_host_now(void* host) { return &self(host)->now(); }
uint64_t myr_host_skipped(void* host) { return self(host)->skipped_so_far(); }
const char* myr_host_error(void* host) { return self(host)->error().c_str(); }

const char* myr_host_state(void* host) { return self(host)->state().c_str(); }

void myr_host_mmio_write(void* host, uint64_t address, const uint8_t* data, uint32_t size) {
    self(host)->cpu().write(address, data, size);
}

void myr_host_mmio_read(void* host, uint64_t id, uint64_t deadline, uint64_t address) {
    self(host)->waits().begin(id, deadline);
    self(host)->cpu().read(address, id);
}

void myr_host_timer(void* host, uint64_t id, uint64_t deadline) { self(host)->waits().begin(id, deadline); }

// 1: memory matches already, and no wait begins.
int32_t myr_host_monitor(void* host, uint64_t id, uint64_t deadline, uint64_t address, const uint8_t* expected,
                         const uint8_t* mask, uint32_t size) {
    myr::Waits& waits = self(host)->waits();
    if (waits.matches(address, expected, mask, size)) return 1;
    waits.begin_monitor(id, deadline, address, expected, mask, size);
    return 0;
}

// Moves up to `capacity` events; call until 0.
uint32_t myr_host_events(void* host, myr::Event* to, uint32_t capacity) {
    std::vector<myr::Event>& events = self(host)->waits().events();
    const size_t n = events.size() < capacity ? events.size() : capacity;
    std::memcpy(to, events.data(), n * sizeof(myr::Event));
    events.erase(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(n));
    if (events.empty()) self(host)->drained();
    return static_cast<uint32_t>(n);
}

void myr_host_inject(void* host, uint64_t address, uint32_t error) {
    self(host)->completer().inject(address, static_cast<myr::ReadError>(error));
}

uint64_t myr_host_trace_count(void* host) { return self(host)->trace().records().size(); }
const myr::TraceRecord* myr_host_trace_records(void* host) { return self(host)->trace().records().data(); }
void myr_host_trace_clear(void* host) { self(host)->trace().clear(); }

uint64_t myr_host_frame_count(void* host) { return self(host)->wire().frames().size(); }
const myr::WireFrame* myr_host_frames(void* host) { return self(host)->wire().frames().data(); }
const uint8_t* myr_host_frame_bytes(void* host) { return self(host)->wire().bytes().data(); }
// `not_before`: cycle of its preamble at the earliest.
void myr_host_wire_send(void* host, const uint8_t* data, uint64_t size, uint64_t not_before, uint32_t error) {
    self(host)->wire_in().send(data, size, not_before, error != 0);
}

// Frames that have not arrived completely.
uint64_t myr_host_wire_waiting(void* host) { return self(host)->wire_in().waiting(); }

// 1: there is a frame already, and no wait begins.
int32_t myr_host_wire_wait(void* host, uint64_t id, uint64_t deadline) {
    return self(host)->wire_wait(id, deadline) ? 0 : 1;
}

void myr_host_frames_drain(void* host) { self(host)->wire().drain(); }

}  // extern "C"
