// A list without end.
#include <list>

int main() {
    struct Block {
        char bytes[1 << 20];
    };
    std::list<Block> blocks;
    for (;;)
        blocks.emplace_back().bytes[7] = 7;
}
