#include <algorithm>
#include <map>
#include <vector>

struct Opaque {};

int main() {
    std::vector<std::map<Opaque, Opaque>> values(3);
    std::sort(values.begin(), values.end());
}
