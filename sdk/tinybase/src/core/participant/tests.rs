//! Participants without a host: what one answers and asks, and that a room of them
//! agrees in the end, whoever leaves, crashes or comes back.

use std::collections::VecDeque;

use super::*;

/// The time of the stamps below.
const NOW: u64 = 1_795_183_200_000;
const SERVER: &str = "S";
const DOG: &str = r#"["e",3,[[{"pets":[{"fido":[{"species":["dog","P6tFRR-----mmxrx"]}]}]}],[{"open":[true,"P6tFRR----2mmxrx"]}],1]]"#;

/// A participant with a chance of its own.
struct Peer {
    own: Participant,
    chance: Chance,
}

/// The numbers of xorshift.
struct Chance(u64);

impl Chance {
    /// Seeds that are near each other begin far apart.
    fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Less than `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end
    }

    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }
}

impl Peer {
    fn new(id: &str, store: Store, now_ms: u64, seed: u64) -> Self {
        let clock = super::super::Clock::of_client(id);
        Self {
            own: Participant::new(store, clock, 1_000, now_ms),
            chance: Chance::new(seed),
        }
    }

    fn empty() -> Self {
        Self::new("client1", Store::default(), NOW, 1)
    }

    fn with_dog() -> Self {
        let mut peer = Self::empty();
        assert!(peer.hear("A", DOG).changes.any);
        peer
    }

    fn act<R>(
        &mut self,
        now_ms: u64,
        act: impl FnOnce(&mut Participant, &mut Moment<'_>) -> R,
    ) -> R {
        let chance = &mut self.chance;
        let mut random = |bytes: &mut [u8]| {
            let next = || u8::try_from(chance.next() >> 56).unwrap();
            bytes.fill_with(next);
        };
        let random = &mut random;
        act(&mut self.own, &mut Moment { now_ms, random })
    }

    fn hear_at(&mut self, now_ms: u64, from: &str, text: &str) -> Received {
        let envelope = Envelope::parse(text).unwrap();
        self.act(now_ms, |own, moment| own.receive(from, envelope, moment))
    }

    fn hear(&mut self, from: &str, text: &str) -> Received {
        self.hear_at(NOW, from, text)
    }

    /// The one message that is the answer, all of it for `A`.
    fn answer(&mut self, text: &str) -> String {
        let [Outgoing { to, text }] = self.hear("A", text).outgoing.try_into().unwrap();
        assert_eq!(to.as_deref(), Some("A"));
        text
    }
}

/// The request id of a question, and what is asked.
fn asked(text: &str) -> (String, &str) {
    let id = text.split('"').nth(1).unwrap();
    (id.to_owned(), &text[id.len() + 3..])
}

#[test]
fn questions_are_answered_with_what_the_asker_lacks_and_what_differs() {
    let mut peer = Peer::with_dog();
    for (question, answer) in [
        (r#"1,"""#, "[2298653722,1679592718]"),
        (
            "4,{}",
            r#"[[{"pets":[{"fido":[{"species":["dog","P6tFRR-----mmxrx"]}]}]}],{}]"#,
        ),
        (r#"4,{"pets":1,"own":2}"#, r#"[[{}],{"pets":3897151689}]"#),
        (r#"4,{"pets":3897151689}"#, "[[{}],{}]"),
        (
            r#"5,{"pets":{"fido":1},"own":{}}"#,
            r#"[[{}],{"pets":{"fido":3542315782}}]"#,
        ),
        (
            r#"5,{"pets":{}}"#,
            r#"[[{"pets":[{"fido":[{"species":["dog","P6tFRR-----mmxrx"]}]}]}],{}]"#,
        ),
        (
            r#"6,{"pets":{"fido":{"species":1}}}"#,
            r#"[{"pets":[{"fido":[{"species":["dog","P6tFRR-----mmxrx"]}]}]}]"#,
        ),
        (r#"6,{"pets":{"fido":{"species":3568909460}}}"#, "[{}]"),
        ("7,{}", r#"[{"open":[true,"P6tFRR----2mmxrx"]}]"#),
        (r#"7,{"open":1571184647}"#, "[{}]"),
    ] {
        let said = peer.answer(&format!(r#"["q",{question}]"#));
        assert_eq!(said, format!(r#"["q",0,{answer}]"#), "{question}");
    }
    let said = peer.answer(r#"[null,1,""]"#);
    assert_eq!(said, "[null,0,[2298653722,1679592718]]");
}

#[test]
fn a_pull_asks_for_tables_rows_cells_and_values_and_merges_all_as_one_change() {
    let mut peer = Peer::with_dog();
    let hears = |peer: &mut Peer, text: &str| {
        let received = peer.hear("B", text);
        assert!(!received.changes.any, "{text}");
        let [Outgoing { to, text }] = received.outgoing.try_into().unwrap();
        assert_eq!(to.as_deref(), Some("B"));
        text
    };
    let question = hears(&mut peer, r#"["transaction",2,[1,2]]"#);
    let (tables, body) = asked(&question);
    assert_eq!(body, r#",4,{"pets":3897151689}]"#);
    let question = hears(
        &mut peer,
        &format!(
            r#"["{tables}",0,[[{{"own":[{{"r":[{{"c":[1,"P6tFRR----3mmxrx"]}}]}}]}}],{{"pets":7}}]]"#
        ),
    );
    let (rows, body) = asked(&question);
    assert_eq!(body, r#",5,{"pets":{"fido":3542315782}}]"#);
    let question = hears(
        &mut peer,
        &format!(r#"["{rows}",0,[[{{}}],{{"pets":{{"fido":8}}}}]]"#),
    );
    let (cells, body) = asked(&question);
    assert_eq!(body, r#",6,{"pets":{"fido":{"species":3568909460}}}]"#);
    let question = hears(
        &mut peer,
        &format!(
            r#"["{cells}",0,[{{"pets":[{{"fido":[{{"species":["cat","P6tFRR----4mmxrx"]}}]}}]}}]]"#
        ),
    );
    let (values, body) = asked(&question);
    assert_eq!(body, r#",7,{"open":1571184647}]"#);
    for id in [&tables, &rows, &cells, &values] {
        assert_eq!(id.split_once('.').map(|(id, _)| id), Some("transaction"));
    }
    let end = format!(r#"["{values}",0,[{{"open":["￼","P6tFRR----5mmxrx"]}}]]"#);
    let received = peer.hear("B", &end);
    let cells = ["own", "pets"].map(|table| (table, received.changes.tables[table].len()));
    assert_eq!(cells, [("own", 1), ("pets", 1)]);
    assert_eq!(received.changes.values.len(), 1);
    // All are told, since one may have pulled from a peer that left.
    let [Outgoing { to: None, text }] = &received.outgoing[..] else {
        panic!("{received:?}");
    };
    let (tables, values) = peer.own.store().hashes();
    assert!(
        text.ends_with(&format!(",2,[{tables},{values}]]")),
        "{text}"
    );
    let species = peer.own.store().cell("pets", "fido", "species");
    assert_eq!(species, Some(&Content::text("cat")));
    assert_eq!(peer.own.store().value("open"), None);
    // The same answer again, and it is nobody's.
    let again = peer.hear("B", &end);
    assert!(!again.changes.any && again.outgoing.is_empty());
}

#[test]
fn an_answer_counts_only_if_it_is_the_asked_peers_and_fits_the_question() {
    for (from, answer) in [
        ("C", "[[{}],{}]"),
        ("B", "[5,6]"),
        ("B", r#"[{"open":[1]}]"#),
    ] {
        let mut peer = Peer::with_dog();
        let question = peer.hear("B", r#"["tx",2,[1,2]]"#).outgoing.remove(0).text;
        let (id, _) = asked(&question);
        let received = peer.hear(from, &format!(r#"["{id}",0,{answer}]"#));
        assert!(
            !received.changes.any && received.outgoing.is_empty(),
            "{answer}"
        );
        let unknown = peer.hear("B", r#"["unknown",0,[[{}],{}]]"#);
        assert!(unknown.outgoing.is_empty());
        let nameless = peer.hear("B", "[null,0,[[{}],{}]]");
        assert!(nameless.outgoing.is_empty());
    }
}

#[test]
fn everybody_who_answers_a_greeting_is_asked_for_what_differs() {
    let mut peer = Peer::with_dog();
    let greeting = peer.act(NOW, |own, moment| own.greet(moment));
    assert!(greeting.iter().all(|outgoing| outgoing.to.is_none()));
    let (id, body) = asked(&greeting[0].text);
    assert_eq!(body, r#",1,""]"#);
    let (_, body) = asked(&greeting[1].text);
    assert_eq!(body, ",2,[2298653722,1679592718]]");
    for from in ["B", "C"] {
        let received = peer.hear(from, &format!(r#"["{id}",0,[1,2]]"#));
        assert_eq!(received.outgoing[0].to.as_deref(), Some(from));
        let equal = format!(r#"["{id}",0,[2298653722,1679592718]]"#);
        assert!(peer.hear("D", &equal).outgoing.is_empty());
    }
}

#[test]
fn content_of_more_than_five_minutes_ahead_is_refused_whole() {
    let early = NOW - MAX_FUTURE_MS - 1;
    let mut peer = Peer::new("client1", Store::default(), early, 1);
    assert!(!peer.hear_at(early, "A", DOG).changes.any);
    assert!(peer.own.store().is_empty());
    assert!(peer.hear_at(early + 1, "A", DOG).changes.any);
    let twice = peer.hear_at(early + 1, "A", DOG);
    assert_eq!(twice.changes, Changes::default());
}

#[test]
fn open_questions_are_bounded_and_expire() {
    let mut peer = Peer::with_dog();
    for number in 0..MAX_PULLS {
        let told = format!(r#"["{number}",2,[1,2]]"#);
        assert_eq!(peer.hear("B", &told).outgoing.len(), 1);
    }
    let told = r#"["more",2,[1,2]]"#;
    assert_eq!(peer.hear("B", told).outgoing.len(), 0);
    assert_eq!(peer.hear_at(NOW + 1_000, "B", told).outgoing.len(), 0);
    assert_eq!(peer.hear_at(NOW + 1_001, "B", told).outgoing.len(), 1);
}

#[test]
fn what_cannot_be_kept_is_taken_back() {
    let mut peer = Peer::with_dog();
    let kept = peer.own.store().clone();
    let edit = |own: &mut Participant, moment: &mut Moment<'_>| {
        own.edit(|edit| edit.del_row("pets", "fido"), moment)
    };
    assert!(peer.act(NOW, edit).changes.any);
    peer.own.restore(kept.clone());
    assert_eq!(peer.own.store(), &kept);
    assert!(peer.act(NOW, edit).changes.any, "it can be made again");
}

/// A server that relays between clients, any of which may be offline. Frames of one
/// client keep their order; between clients chance decides.
struct Room {
    server: Peer,
    clients: Vec<Option<Online>>,
    stores: Vec<Peer>,
    chance: Chance,
    now_ms: u64,
}

/// Frames under way, with the addressee or the sender.
#[derive(Default)]
struct Online {
    to_server: VecDeque<(String, String)>,
    from_server: VecDeque<(String, String)>,
}

impl Room {
    fn new(clients: usize, seed: u64) -> Self {
        let peer = |id: String, seed| Peer::new(&id, Store::default(), NOW, seed);
        Self {
            server: peer(SERVER.to_owned(), seed),
            clients: (0..clients).map(|_| None).collect(),
            stores: (0..clients)
                .map(|index| peer(index.to_string(), seed + index as u64 + 1))
                .collect(),
            chance: Chance::new(seed),
            now_ms: NOW,
        }
    }

    fn join(&mut self, index: usize) {
        self.clients[index] = Some(Online::default());
        let greeting = self.stores[index].act(self.now_ms, |own, moment| own.greet(moment));
        self.client_sends(index, greeting);
    }

    fn edit(&mut self, index: usize) {
        let chance = &mut self.chance;
        let (table, row, cell) = (
            chance.pick(&["t", "u"]),
            chance.pick(&["1", "2", ""]),
            chance.pick(&["a", "b"]),
        );
        let (what, number) = (chance.below(6), chance.below(3));
        let edits = |edit: &mut Edit<'_>| match what {
            0 => edit.del_cell(table, row, cell),
            1 => edit.del_row(table, row),
            2 => edit.del_value(cell),
            3 => edit.set_value(cell, Content::text(&number.to_string())),
            _ => edit.set_cell(table, row, cell, Content::text(&number.to_string())),
        };
        let received = self.stores[index].act(self.now_ms, |own, moment| own.edit(edits, moment));
        self.client_sends(index, received.outgoing);
    }

    /// The server begins anew with what it has kept, and asks.
    fn restart(&mut self) {
        let store = Store::from_stored(&self.server.own.store().to_stored()).unwrap();
        self.server = Peer::new(SERVER, store, self.now_ms, self.chance.next());
        let greeting = self
            .server
            .act(self.now_ms, |own, moment| own.greet(moment));
        self.server_sends(greeting);
    }

    fn client_sends(&mut self, index: usize, outgoing: Vec<Outgoing>) {
        let frames = outgoing
            .into_iter()
            .map(|one| (one.to.unwrap_or_default(), one.text));
        if let Some(client) = &mut self.clients[index] {
            client.to_server.extend(frames);
        }
    }

    fn server_sends(&mut self, outgoing: Vec<Outgoing>) {
        for Outgoing { to, text } in outgoing {
            self.relay(SERVER, &to.unwrap_or_default(), &text);
        }
    }

    fn relay(&mut self, from: &str, to: &str, text: &str) {
        for (index, client) in self.clients.iter_mut().enumerate() {
            let id = index.to_string();
            if let Some(client) = client
                .as_mut()
                .filter(|_| id != from && (to.is_empty() || id == to))
            {
                client
                    .from_server
                    .push_back((from.to_owned(), text.to_owned()));
            }
        }
    }

    /// Moves one frame on; `false`: none is under way.
    fn step(&mut self) -> bool {
        let under_way: Vec<_> = self
            .clients
            .iter()
            .enumerate()
            .flat_map(|(index, client)| {
                let queues = client.iter().flat_map(|client| {
                    [
                        (true, client.to_server.is_empty()),
                        (false, client.from_server.is_empty()),
                    ]
                });
                queues
                    .filter(|(_, empty)| !empty)
                    .map(move |(up, _)| (index, up))
                    .collect::<Vec<_>>()
            })
            .collect();
        if under_way.is_empty() {
            return false;
        }
        let (index, up) = self.chance.pick(&under_way);
        let client = self.clients[index].as_mut().expect("it has frames");
        let queue = if up {
            &mut client.to_server
        } else {
            &mut client.from_server
        };
        let (other, text) = queue.pop_front().expect("it is not empty");
        if !up {
            let received = self.stores[index].hear_at(self.now_ms, &other, &text);
            self.client_sends(index, received.outgoing);
            return true;
        }
        let from = index.to_string();
        self.relay(&from, &other, &text);
        if other.is_empty() || other == SERVER {
            let received = self.server.hear_at(self.now_ms, &from, &text);
            self.server_sends(received.outgoing);
        }
        true
    }
}

#[test]
fn a_room_agrees_in_the_end_whoever_leaves_crashes_or_comes_back() {
    for seed in 0..40 {
        let mut room = Room::new(4, seed * 1_000);
        for _ in 0..400 {
            let index = room.chance.below(4);
            match room.chance.below(40) {
                0 => room.clients[index] = None,
                1 => room.restart(),
                2..4 if room.clients[index].is_none() => room.join(index),
                4..10 => room.edit(index),
                10..12 => room.now_ms += 1 + room.chance.below(300) as u64,
                _ => drop(room.step()),
            }
        }
        // Everybody comes back, and nobody edits any more.
        (0..4).for_each(|index| room.join(index));
        let steps = (0..1_000_000).take_while(|_| room.step()).count();
        assert!(steps < 1_000_000, "seed {seed}: they do not stop talking");
        let mut wanted = room.server.own.store().clone();
        assert!(!wanted.rehash(), "seed {seed}");
        for (index, peer) in room.stores.iter().enumerate() {
            assert_eq!(
                peer.own.store().hashes(),
                wanted.hashes(),
                "seed {seed}, {index}"
            );
            assert_eq!(peer.own.store(), &wanted, "seed {seed}, {index}");
        }
    }
}
