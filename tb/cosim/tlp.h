// PCIe transaction-layer packets as DWs: header DWs hold header byte 0 in bits 31:24, payload DWs the lowest address
// in bits 7:0 (myr_pkg.sv, tlp_beat_t).
#pragma once
#include <cstdint>
#include <vector>

namespace myr {

using Tlp = std::vector<uint32_t>;

enum TlpType : uint8_t {
    kMRd32 = 0x00,
    kMRd64 = 0x20,
    kMWr32 = 0x40,
    kMWr64 = 0x60,
    kCfgRd0 = 0x04,
    kCfgWr0 = 0x44,
    kCpl = 0x0A,
    kCplD = 0x4A,
};

enum CplStatus : uint8_t { kSc = 0, kUr = 1, kCa = 4 };

constexpr uint32_t kRcb = 64;           // read completion boundary
constexpr uint32_t kPoisoned = 1 << 14; // EP in DW 0

// A memory request's fields.
struct MemRequest {
    uint16_t requester;
    uint8_t tag;
    uint8_t first_be;
    uint8_t last_be;
    uint64_t address;     // of the first DW
    uint32_t dws;         // Length, 1 to 1024
    uint32_t header_dws;  // 3 or 4
};

inline uint8_t tlp_type(const Tlp& t) { return static_cast<uint8_t>(t[0] >> 24); }
inline bool tlp_has_data(uint8_t type) { return (type & 0x40) != 0; }
inline uint32_t tlp_header_dws(uint8_t type) { return (type & 0x20) != 0 ? 4 : 3; }
inline uint32_t tlp_length(uint32_t dw0) { return (dw0 & 0x3FF) == 0 ? 1024 : dw0 & 0x3FF; }

MemRequest parse_mem(const Tlp& t);

// First enabled byte and span in bytes from it to the last enabled byte of a read (PCIe 3.0, table 2-38).
uint32_t first_byte(const MemRequest& r);
uint32_t byte_count(const MemRequest& r);

// A posted write of `size` (1 to 64) bytes at any address; 3-DW header below 4 GiB.
Tlp make_write(uint64_t address, const uint8_t* data, uint32_t size);
Tlp make_read(uint64_t address, uint8_t tag);
// `id`: bus, device and function of the target; `offset` in its configuration space.
Tlp make_cfg_read(uint16_t id, uint32_t offset, uint8_t tag);
Tlp make_cfg_write(uint16_t id, uint32_t offset, uint8_t tag, const uint8_t* data, uint32_t size);
// Header of a completion; `dws` is 0 for one without data.
Tlp make_completion(const MemRequest& r, CplStatus status, uint32_t bytes_left, uint32_t lower_address, uint32_t dws);

}  // namespace myr
