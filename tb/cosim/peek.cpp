// Back doors for verification: the functions of *_peek.sv, for Python (tb/uvm/backdoor.py, ctypes).
#include <svdpi.h>

#include <cstdint>

#include "host.h"

extern "C" {

// Exported by the model.
unsigned long long myr_peek_nic_control(unsigned int address);
unsigned long long myr_peek_iommu(unsigned int address);
unsigned long long myr_peek_tables(unsigned int address);
void myr_poke_nic_control(unsigned int address, unsigned int value);
void myr_poke_iommu(unsigned int address, unsigned int value);

// A word behind `door`: 0 NIC control registers, 1 the NIC's tables, 2 IOMMU registers. Bit 32: there is such a word.
uint64_t myr_host_peek(uint32_t door, uint32_t address) {
    svSetScope(svGetScopeFromName(door == 1 ? "myr_top.u_tables_peek" : "myr_top.u_regs_peek"));
    if (door == 1) return myr_peek_tables(address);
    return door == 0 ? myr_peek_nic_control(address) : myr_peek_iommu(address);
}

// Store `value` in the register at `address` of door 0 or 2. It is there when the model has been evaluated once more.
void myr_host_poke(uint32_t door, uint32_t address, uint32_t value) {
    svSetScope(svGetScopeFromName("myr_top.u_regs_peek"));
    door == 0 ? myr_poke_nic_control(address, value) : myr_poke_iommu(address, value);
    if (myr::Host* host = myr::attached()) host->disturb();
}

}  // extern "C"
