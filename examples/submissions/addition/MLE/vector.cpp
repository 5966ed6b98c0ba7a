// A vector that grows past every limit, each page touched.
#include <vector>

int main() {
    std::vector<std::vector<char>> kept;
    for (int chunk = 0; chunk < 64; chunk++)
        kept.emplace_back(16 * 1024 * 1024, 'x');
    return kept[7][7] == 'x' ? 0 : 1;
}
