// expect: CE, row: C1
template <int depth, long path> struct Tree {
    static constexpr long value = Tree<depth - 1, 2 * path>::value + Tree<depth - 1, 2 * path + 1>::value;
};
template <long path> struct Tree<0, path> {
    static constexpr long value = path;
};
int main() { return Tree<24, 1>::value == 0; }
