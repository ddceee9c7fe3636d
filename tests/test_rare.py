"""Conversations with an edge that few take are read several times, each time as another one."""

from subterra.training.rare import with_rare_again


def rows(*nodes: str, count: int) -> list[dict]:
    return [{"id": f"{'-'.join(nodes)} {number}", "nodes": list(nodes)} for number in range(count)]


def test_what_half_as_many_take_is_read_twice_and_nothing_too_often():
    common, few, one = rows("a", "b", "c", count=16), rows("a", "x", "c", count=8), rows("a", "y", "c", count=1)
    read = with_rare_again([*few, *common, *one], 4)
    assert read[:25] == [*few, *common, *one]
    assert [row["id"] for row in read[25:]] == [
        *(f"a-x-c {number} again 1" for number in range(8)),
        *(f"a-y-c 0 again {number}" for number in (1, 2, 3)),
    ]


def test_a_rare_edge_is_one_of_the_whole_path():
    read = with_rare_again([*rows("a", "b", "c", "d", count=9), *rows("a", "b", "d", count=3)], 2)
    assert len(read) == 9 + 2 * 3


def test_one_reads_all_alike_and_a_path_of_one_node_has_no_edge():
    alike = [*rows("a", "b", count=9), *rows("a", "c", count=1), *rows("a", count=1)]
    assert with_rare_again(alike, 1) == alike and with_rare_again([], 4) == []
    assert {row["id"] for row in with_rare_again(alike, 2)} - {row["id"] for row in alike} == {"a-c 0 again 1"}


def test_an_interruption_may_come_anywhere_and_is_no_rare_edge():
    alike = [*rows("a", "b", count=9), *rows("a", "wait?", "wait!", "b", count=1), *rows("a", "human?", "c", count=1)]
    assert with_rare_again(alike, 4) == alike
