// Configuration of one host instance. Mirrored by `_Config` in tb/cosim/platform.py, in this order.
#pragma once
#include <cstdint>

namespace myr {

struct HostConfig {
    uint64_t ram_bytes;
    uint64_t seed;
    // machine map
    uint64_t pci_window;
    uint64_t pci_window_bytes;
    uint64_t ecam;
    uint64_t ecam_bytes;
    uint64_t iommu;
    uint32_t nic_bus;
    // latencies in cycles; jitter is the mean of a random addition, 0: constant
    uint32_t read_latency;
    uint32_t read_jitter;
    uint32_t write_latency;
    uint32_t walk_latency;
    uint32_t walk_jitter;
    uint32_t credit_latency;
    // what configuration space says, in bytes
    uint32_t mps;
    uint32_t mrrs;
    // initial credits granted to the NIC
    uint32_t credit_ph;
    uint32_t credit_pd;
    uint32_t credit_nph;
    uint32_t credit_npd;
    // disturbances
    uint32_t link_stall_permille;
    uint32_t rc_stall_permille;
    uint32_t starvation_permille;
    uint32_t reorder;
    uint32_t random_split;
    // the far end of the line stops for the NIC's pause frames
    uint32_t peer_pause;
    // the protocol checkers (tb/cosim/checkers) are on
    uint32_t checkers;
    // cycles in which the hardware stays as it is are counted, not evaluated
    uint32_t skip;
};

}  // namespace myr
