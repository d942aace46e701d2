// Drives checker_bench from standard input: a line is a cycle, `pin=value pin=value ...` in hexadecimal, all other pins
// are 0. Messages go to standard output; the exit status is 2 for a line that names no pin.
#include <cstdint>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>

#include "Vtop.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

int main(int argc, char** argv) {
    Verilated::commandArgs(argc, argv);
    const auto top = std::make_unique<Vtop>("");
    std::map<std::string, std::function<void(uint64_t)>> pins;
#define PIN(name) pins[#name] = [&top](uint64_t value) { top->name = static_cast<std::remove_reference_t<decltype(top->name)>>(value); }
    PIN(rst); PIN(enable); PIN(valid); PIN(ready); PIN(data);
    PIN(up_moved); PIN(up_last); PIN(up_half); PIN(up_data);
    PIN(dn_moved); PIN(dn_last); PIN(dn_half); PIN(dn_data);
    PIN(mem_moved); PIN(mem_last); PIN(mem_half); PIN(mem_data);
    PIN(timeout); PIN(limit); PIN(send_posted); PIN(recv_posted); PIN(ep); PIN(cq); PIN(index); PIN(count);
    PIN(refused); PIN(arm); PIN(start); PIN(irq);
    PIN(tx_valid); PIN(tx_first); PIN(tx_last); PIN(tx_bytes); PIN(tx_data);
    PIN(rx_valid); PIN(rx_first); PIN(rx_last); PIN(rx_bytes); PIN(rx_error); PIN(rx_data); PIN(judged); PIN(bad);
#undef PIN
    std::string line;
    while (std::getline(std::cin, line)) {
        for (auto& [name, set] : pins) set(0);
        std::istringstream words(line);
        std::string word;
        while (words >> word) {
            const size_t at = word.find('=');
            const auto pin = pins.find(word.substr(0, at));
            if (at == std::string::npos || pin == pins.end()) {
                std::cerr << word << ": no pin\n";
                return 2;
            }
            pin->second(std::stoull(word.substr(at + 1), nullptr, 16));
        }
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
    }
    top->final();
    return 0;
}
