//! The lines: each measures one thing at every peer.

pub(crate) mod alarms;
pub(crate) mod burst;
pub(crate) mod edit;
pub(crate) mod growth;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod rate;
pub(crate) mod sockets;
pub(crate) mod start;
pub(crate) mod switch;

pub(crate) use edit::Quantile;
pub(crate) use growth::Growth;
pub(crate) use load::{Kind, Load};

use crate::line::{Bar, Better, Line, Takers, Work};
use Bar::{Absolute, TimesWorkerd};

const PER_SECOND: &str = "requests/s";

pub(crate) fn all() -> Vec<Line> {
    let mut lines = under_load();
    lines.extend(single_costs());
    lines.extend(growths());
    lines
}

const fn times(times: f64) -> Option<Bar> {
    Some(TimesWorkerd(times))
}

fn under_load() -> Vec<Line> {
    let load = |name, title, kind, objects, connections, bar| Line {
        name,
        title,
        unit: PER_SECOND,
        better: Better::More,
        takers: match kind {
            Kind::Hello => Takers::All,
            _ => Takers::Objects,
        },
        bar,
        work: Work::Load(Load {
            kind,
            objects,
            connections,
        }),
    };
    vec![
        load(
            "hello",
            "Hello, 64 in flight",
            Kind::Hello,
            1,
            64,
            times(2.0),
        ),
        load(
            "mem-hot",
            "Object in memory, one hot, 64 in flight",
            Kind::Memory,
            1,
            64,
            times(4.0),
        ),
        load(
            "mem-1000",
            "Object in memory, 1,000 objects, 64 in flight",
            Kind::Memory,
            1000,
            64,
            times(4.0),
        ),
        load(
            "read-hot",
            "SQL read, one hot, 64 in flight",
            Kind::Read,
            1,
            64,
            times(4.0),
        ),
        load(
            "write-hot-1",
            "Durable write, one hot, 1 in flight",
            Kind::Write,
            1,
            1,
            None,
        ),
        load(
            "write-hot-16",
            "Durable write, one hot, 16 in flight",
            Kind::Write,
            1,
            16,
            None,
        ),
        load(
            "write-hot-64",
            "Durable write, one hot, 64 in flight",
            Kind::Write,
            1,
            64,
            times(8.0),
        ),
        load(
            "write-1000-16",
            "Durable write, 1,000 objects, 16 in flight",
            Kind::Write,
            1000,
            16,
            times(10.0),
        ),
        load(
            "write-1000-64",
            "Durable write, 1,000 objects, 64 in flight",
            Kind::Write,
            1000,
            64,
            None,
        ),
        load(
            "selects-101",
            "101 SELECTs in one request, 1 in flight",
            Kind::Selects,
            1,
            1,
            times(4.0),
        ),
        load(
            "mix",
            "Like an app: reads, writes, memory on 100 objects, 32 in flight",
            Kind::Mix,
            100,
            32,
            None,
        ),
    ]
}

fn single_costs() -> Vec<Line> {
    let line = |name, title, unit, better, takers, bar, work| Line {
        name,
        title,
        unit,
        better,
        takers,
        bar,
        work,
    };
    use Better::{Less, More};
    use Takers::{DurableObjects, Objects};
    let read = Load {
        kind: Kind::Read,
        objects: 100,
        connections: 0,
    };
    let write = Load {
        kind: Kind::Write,
        objects: 100,
        connections: 0,
    };
    vec![
        line(
            "rate-read",
            "Latency of reads at 500 a second, 100 objects",
            "ms, 99th percentile",
            Less,
            Objects,
            None,
            Work::Rate(read, 500.0),
        ),
        line(
            "rate-write",
            "Latency of durable writes at 500 a second, 100 objects",
            "ms, 99th percentile",
            Less,
            Objects,
            None,
            Work::Rate(write, 500.0),
        ),
        line(
            "first-touch",
            "First touch of a new object with a durable write, 16 in flight",
            "objects/s",
            More,
            Objects,
            times(10.0),
            Work::FirstTouch,
        ),
        line(
            "wake",
            "Waking an object that has a database, 1 in flight",
            "ms",
            Less,
            DurableObjects,
            Some(Absolute(0.5)),
            Work::Wake,
        ),
        line(
            "memory-awake",
            "Memory of an awake object with a database",
            "KiB",
            Less,
            Objects,
            Some(Absolute(106.0)),
            Work::MemoryAwake,
        ),
        line(
            "memory-asleep",
            "Memory of a sleeping object",
            "KiB",
            Less,
            DurableObjects,
            Some(Absolute(1.0)),
            Work::MemoryAsleep,
        ),
        line(
            "ws-echo",
            "WebSocket echo, 64 sockets on one object",
            "messages/s",
            More,
            Objects,
            times(1.5),
            Work::Echo,
        ),
        line(
            "ws-fan-out",
            "WebSocket fan-out to 1,000 sockets of one object",
            "frames/s",
            More,
            Objects,
            times(2.0),
            Work::FanOut,
        ),
        line(
            "ws-memory",
            "Memory of an open socket, its object asleep",
            "KiB",
            Less,
            Objects,
            Some(Absolute(4.0)),
            Work::SocketMemory,
        ),
        line(
            "ws-wake",
            "Answer of a sleeping object to a message",
            "ms, 99th percentile",
            Less,
            DurableObjects,
            Some(Absolute(2.0)),
            Work::SocketWake,
        ),
        line(
            "alarms",
            "Lateness of alarms that are due in the same second",
            "ms, 99th percentile",
            Less,
            DurableObjects,
            Some(Absolute(1000.0)),
            Work::Alarms,
        ),
        line(
            "tinybase-edit",
            "One edit of a TinyBase store, from client to client",
            "ms, median",
            Less,
            DurableObjects,
            times(1.0),
            Work::Edit(Quantile::P50),
        ),
        line(
            "tinybase-edit-99",
            "One edit of a TinyBase store, from client to client: the slowest",
            "ms, 99th percentile",
            Less,
            DurableObjects,
            times(1.0),
            Work::Edit(Quantile::P99),
        ),
        line(
            "start",
            "Start to the first answer, with data and compiled code",
            "ms",
            Less,
            Takers::All,
            Some(Absolute(25.0)),
            Work::Start,
        ),
        line(
            "deploy-switch",
            "Going back to another version under load, with no failed request",
            "ms",
            Less,
            Takers::Dormouse,
            Some(Absolute(1000.0)),
            Work::Switch,
        ),
    ]
}

fn growths() -> Vec<Line> {
    let line = |name, title, unit, growth| Line {
        name,
        title,
        unit,
        better: Better::Less,
        takers: Takers::DurableObjects,
        bar: None,
        work: Work::Growth(growth),
    };
    vec![
        line(
            "grow-objects",
            "Read of one object beside so many others on disk",
            "µs",
            Growth::Objects,
        ),
        line(
            "grow-start",
            "Start to the first answer with so many objects on disk",
            "ms",
            Growth::Start,
        ),
        line(
            "grow-sockets",
            "Echo of one socket beside so many sleeping ones",
            "µs",
            Growth::Sockets,
        ),
        line(
            "grow-database",
            "Waking an object and reading a row of a database of this size",
            "µs",
            Growth::Database,
        ),
        line(
            "grow-log",
            "Durable write after so many others",
            "µs",
            Growth::Log,
        ),
    ]
}
