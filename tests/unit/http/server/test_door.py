"""Who gives way, in which order, and that what is counted comes to nothing in the end."""

from __future__ import annotations

import random

import pytest

from holdfast.http.server import door


class Client:
    """A socket that only notes that it was sent away."""

    def __init__(self, name: int, tenant: str = "") -> None:
        self.name, self.away, self.tenant = name, 0, tenant

    def __repr__(self) -> str:
        return f"client {self.name}"

    def give_way(self) -> None:
        self.away += 1


def crowd(count: int) -> list[Client]:
    return [Client(number) for number in range(count)]


def away(clients: list[Client]) -> list[int]:
    assert all(client.away <= 1 for client in clients)
    return [client.name for client in clients if client.away]


def test_as_many_come_in_as_there_are_places() -> None:
    gate, clients = door.Door(3), crowd(3)
    assert all(gate.enter(client) for client in clients)
    assert away(clients) == []


def test_who_waits_the_longest_gives_way_to_a_newcomer() -> None:
    gate, clients = door.Door(3), crowd(5)
    for client in clients:
        assert gate.enter(client)
    assert away(clients) == [0, 1]


def test_who_is_answered_never_gives_way() -> None:
    gate, clients = door.Door(2), crowd(4)
    for client in clients[:2]:
        gate.enter(client)
    gate.whole(clients[0])
    assert gate.enter(clients[2])
    gate.whole(clients[2])
    assert not gate.enter(clients[3])
    assert away(clients) == [1]


def test_who_was_answered_waits_from_then_on() -> None:
    gate, clients = door.Door(2), crowd(4)
    for client in clients[:2]:
        gate.enter(client)
    gate.whole(clients[0])
    gate.waits(clients[0])
    assert gate.enter(clients[2])
    assert away(clients) == [1]
    assert gate.enter(clients[3])
    assert away(clients) == [0, 1]


def test_who_leaves_frees_a_place_once() -> None:
    gate, clients = door.Door(1), crowd(3)
    gate.enter(clients[0])
    gate.whole(clients[0])
    assert not gate.enter(clients[1])
    for _ in range(2):
        gate.leave(clients[0])
    gate.leave(clients[1])  # it never came in
    assert gate.enter(clients[1])
    gate.whole(clients[1])
    assert not gate.enter(clients[2])


def test_who_was_sent_away_has_nothing_more_to_say() -> None:
    gate, clients = door.Door(1, door.Bounds(heads=9)), crowd(2)
    for client in clients:
        gate.enter(client)
    gate.waits(clients[0])
    gate.took(clients[0], 100)
    gate.leave(clients[0])
    gate.whole(clients[1])
    assert not gate.enter(clients[0])
    assert away(clients) == [0]


def test_what_is_on_its_way_is_bounded_and_the_first_that_began_goes() -> None:
    gate, clients = door.Door(9, door.Bounds(heads=100)), crowd(3)
    for client in reversed(clients):
        gate.enter(client)
    gate.took(clients[0], 40)
    gate.took(clients[1], 40)
    gate.took(clients[0], 20)
    assert away(clients) == []
    gate.took(clients[2], 1)
    assert away(clients) == [0]


def test_what_is_whole_is_not_on_its_way_any_more() -> None:
    gate, clients = door.Door(9, door.Bounds(heads=100)), crowd(2)
    for client in clients:
        gate.enter(client)
    for _ in range(3):
        gate.took(clients[0], 100)
        gate.whole(clients[0])
        gate.waits(clients[0])
    gate.took(clients[1], 100)
    assert away(clients) == []


def test_who_is_answered_may_have_more_on_its_way() -> None:
    gate, clients = door.Door(2, door.Bounds(heads=100)), crowd(3)
    for client in clients[:2]:
        gate.enter(client)
        gate.took(client, 50)
        gate.answers(client)
    assert not gate.enter(clients[2])
    gate.forget(clients[0])
    gate.took(clients[1], 50)
    assert away(clients) == []
    gate.took(clients[0], 1)
    assert away(clients) == [1]


def test_who_does_not_take_its_answer_waits_until_it_does() -> None:
    gate, clients = door.Door(2), crowd(4)
    for client in clients[:2]:
        gate.enter(client)
        gate.whole(client)
        gate.waits(client)
    gate.waits(clients[0])  # which makes it no younger
    gate.answers(clients[1])
    assert gate.enter(clients[2])
    gate.whole(clients[2])
    assert not gate.enter(clients[3])
    assert away(clients) == [0]


def test_one_that_is_too_large_goes_itself() -> None:
    gate, (client,) = door.Door(9, door.Bounds(heads=100)), crowd(1)
    gate.enter(client)
    gate.took(client, 101)
    assert client.away == 1


def test_each_kind_has_a_bound_of_its_own() -> None:
    """Half heads of strangers end no body, and neither ends an answer."""
    gate, clients = door.Door(9, door.Bounds(100, 100, 100)), crowd(4)
    for client in clients:
        gate.enter(client)
    gate.took(clients[0], 60)
    gate.took_body(clients[0], 100)  # of its head nothing is left
    gate.took(clients[1], 100)
    gate.keeps(clients[2], 100)
    assert away(clients) == []
    gate.took(clients[3], 1)
    assert away(clients) == [1]
    gate.took_body(clients[3], 1)
    assert away(clients) == [0, 1]
    gate.keeps(clients[3], 1)
    assert away(clients) == [0, 1, 2]


def test_who_sends_a_body_gives_way_only_after_all_that_wait() -> None:
    gate, clients = door.Door(3), crowd(7)
    for client in clients[:3]:
        gate.enter(client)
    gate.took_body(clients[0], 1)
    gate.sends(clients[0])
    gate.took_body(clients[1], 1)  # which nobody has read yet
    for client in clients[3:5]:
        assert gate.enter(client)
    assert away(clients) == [1, 2]
    gate.whole(clients[3])
    gate.whole(clients[4])
    assert gate.enter(clients[5])
    assert away(clients) == [0, 1, 2]
    gate.whole(clients[5])
    assert not gate.enter(clients[6])


def test_who_has_sent_its_body_and_takes_no_answer_waits_like_others() -> None:
    gate, clients = door.Door(2, door.Bounds(bodies=100)), crowd(3)
    for client in clients[:2]:
        gate.enter(client)
        gate.sends(client)
    gate.waits(clients[1])
    gate.took_body(clients[1], 60)  # of the next request
    assert gate.enter(clients[2])
    assert away(clients) == [1]


def test_what_was_read_of_a_body_is_not_held_here() -> None:
    """So those whom nobody reads end no body that somebody reads."""
    gate, clients = door.Door(9, door.Bounds(bodies=100)), crowd(3)
    for client in clients:
        gate.enter(client)
    gate.took_body(clients[0], 60)
    gate.sends(clients[0])
    for _ in range(9):
        gate.took_body(clients[0], 60)
    gate.took_body(clients[1], 60)
    gate.took_body(clients[2], 41)
    assert away(clients) == [1]
    gate.leave(clients[0])
    gate.sends(clients[0])  # too late
    assert away(clients) == [1]


def test_an_answer_is_counted_until_it_is_taken_whatever_comes_behind_it() -> None:
    gate, clients = door.Door(9, door.Bounds(answers=100)), crowd(2)
    for client in clients:
        gate.enter(client)
    gate.keeps(clients[0], 90)
    gate.whole(clients[0])
    gate.keeps(clients[1], 11)
    assert away(clients) == [0]


def test_nobody_goes_for_answers_that_another_tenant_does_not_take() -> None:
    gate, clients = door.Door(9, door.Bounds(answers=100)), crowd(5)
    clients[0].tenant = "quiet"
    for client in clients:
        gate.enter(client)
        gate.keeps(client, 30)
    assert away(clients) == [1, 2]
    gate.keeps(clients[0], 10)
    gate.keeps(clients[3], 60)
    gate.keeps(clients[4], 31)
    assert away(clients) == [1, 2, 3]


def test_answers_that_are_not_taken_are_bounded() -> None:
    gate, clients = door.Door(9, door.Bounds(answers=100)), crowd(3)
    for client in clients:
        gate.enter(client)
        gate.whole(client)
    gate.keeps(clients[0], 60)
    gate.keeps(clients[1], 40)
    gate.keeps(clients[0], 50)
    gate.keeps(clients[2], 10)
    assert away(clients) == []
    gate.took_answers(clients[1])
    gate.keeps(clients[2], 50)
    gate.answers(clients[2])
    gate.keeps(clients[1], 50)
    assert away(clients) == []
    gate.keeps(clients[2], 1)
    assert away(clients) == [0]


def test_one_large_answer_alone_may_be_over_the_bound() -> None:
    gate, clients = door.Door(9, door.Bounds(answers=100)), crowd(2)
    for client in clients:
        gate.enter(client)
    gate.keeps(clients[0], 500)
    assert away(clients) == []
    gate.keeps(clients[1], 1)
    assert away(clients) == [0]


@pytest.mark.parametrize("seed", range(20))
def test_a_door_that_many_pass_through_is_empty_in_the_end(seed: int) -> None:
    dice, clients = random.Random(seed), crowd(40)
    gate = door.Door(8, door.Bounds(500, 500, 500))
    inside: set[Client] = set()
    answered: set[Client] = set()
    keeping: set[Client] = set()

    def gone() -> None:
        for client in [one for one in inside if one.away]:
            assert client not in answered - keeping
            inside.discard(client)
            answered.discard(client)

    for client in clients:
        if gate.enter(client):
            inside.add(client)
        else:
            assert len(answered) == 8
        gone()
        for _ in range(3):
            one = dice.choice([*inside])
            what = dice.randrange(7)
            if what == 0 and one not in answered:
                gate.took(one, dice.randrange(200))
            elif what == 4 and one not in answered:
                gate.took_body(one, dice.randrange(200))
            elif what == 5 and one not in answered:
                gate.keeps(one, dice.randrange(200))
                keeping.add(one)
            elif what == 6 and one not in answered:
                gate.sends(one)
            elif what == 1:
                gate.whole(one)
                answered.add(one)
            elif what == 2 and one in answered:
                answered.discard(one)
                gate.waits(one)
            elif what == 3 and len(inside) > 1:
                gate.leave(one)
                inside.discard(one)
                answered.discard(one)
            gone()
            if not inside:
                break
        assert len(inside) <= 8
    for client in inside:
        gate.leave(client)
    late = crowd(9)
    for client in late:
        gate.enter(client)
    for hold in (gate.took, gate.keeps, gate.took_body):
        hold(late[8], 500)
    assert away(late) == [0]
