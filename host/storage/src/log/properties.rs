//! What the readers of the log hold for any bytes: no panic, no wrong checksum believed, and
//! of a damaged log a prefix or an error that names the file.
//!
//! `PROPTEST_CASES=100000` raises the volume; a failure prints its smallest case.

use std::ops::Range;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::delta::{Encoded, PAGE_BYTES, Page, encode};
use super::record::{self, Commit, HEADER_BYTES, padded};
use super::scan::{Scanned, scan};
use super::segment::{self, Header};
use crate::disk::Env;
use crate::disk::simulated::SimDisk;
use crate::error::Error;
use crate::fault::Faults;
use crate::history::Horizon;
use crate::key::ObjectKey;
use crate::manifest::Manifest;

const LOG: u64 = 7;
const EPOCH: u32 = 3;
const START: u64 = 4096;

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What a commit is made of: pages by number and filling, and perhaps a name.
#[derive(Debug, Clone)]
struct Sketch {
    pages: Vec<(u32, u8, bool)>,
    name: Option<String>,
    restored: bool,
    opens_batch: bool,
}

prop_compose! {
    fn sketch()(
        pages in vec((1..9_u32, any::<u8>(), any::<bool>()), 0..4),
        name in proptest::option::of("[a-zä]{0,20}"),
        restored in any::<bool>(),
        opens_batch in any::<bool>(),
    ) -> Sketch {
        Sketch { pages, name, restored, opens_batch }
    }
}

/// A page of one byte, or one that does not get smaller.
fn page(fill: u8, is_noise: bool) -> Page {
    let mut word = u32::from(fill) | 1;
    std::array::from_fn(|_| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if is_noise { (word >> 24) as u8 } else { fill }
    })
}

/// The records of a log, one after the other, and where each of them lies.
fn log(sketches: &[Sketch]) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut log, mut records) = (Vec::new(), Vec::new());
    for (sketch, time_ms) in sketches.iter().zip(1..) {
        if sketch.opens_batch || log.is_empty() {
            let batch = record::batch(START + log.len() as u64, EPOCH, time_ms);
            records.push(log.len()..log.len() + batch.len());
            log.extend_from_slice(&batch);
        }
        let key = sketch.name.clone().map(|name| ObjectKey {
            namespace: "chat".into(),
            id: [time_ms as u8; 32],
            name: Some(name),
        });
        let commit = Commit {
            slot: 5,
            object: u128::from(time_ms),
            previous: 0,
            size_pages: sketch.pages.len() as u32,
            restored: sketch.restored,
            key: key.as_ref(),
            pages: sketch.pages.len() as u32,
        };
        let mut bytes = Vec::new();
        commit.begin(&mut bytes);
        for (number, fill, is_noise) in &sketch.pages {
            encode(*number, &page(*fill, *is_noise), None, &mut bytes);
        }
        let crc = record::payload_crc(&bytes);
        record::seal(&mut bytes, crc, START + log.len() as u64, EPOCH, time_ms);
        bytes.resize(padded(bytes.len()), 0);
        records.push(log.len()..log.len() + bytes.len());
        log.extend_from_slice(&bytes);
    }
    (log, records)
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Damage {
    Flip {
        at: Index,
        bit: u8,
    },
    Overwrite {
        at: Index,
        with: Vec<u8>,
    },
    Zero {
        at: Index,
        bytes: usize,
    },
    Cut {
        at: Index,
    },
    /// An older record where another should be.
    Repeat {
        from: Index,
        to: Index,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        (at(), vec(any::<u8>(), 1..600)).prop_map(|(at, with)| Damage::Overwrite { at, with }),
        (at(), 1..9000_usize).prop_map(|(at, bytes)| Damage::Zero { at, bytes }),
        at().prop_map(|at| Damage::Cut { at }),
        (at(), at()).prop_map(|(from, to)| Damage::Repeat { from, to }),
    ]
}

impl Damage {
    fn apply(&self, log: &mut Vec<u8>, records: &[Range<usize>]) {
        match self {
            _ if log.is_empty() => (),
            Damage::Flip { at, bit } => *at.get_mut(log) ^= 1 << bit,
            Damage::Overwrite { at, with } => {
                let from = at.index(log.len());
                let rest = &mut log[from..];
                let count = rest.len().min(with.len());
                rest[..count].copy_from_slice(&with[..count]);
            }
            Damage::Zero { at, bytes } => {
                let from = at.index(log.len());
                let to = log.len().min(from + bytes);
                log[from..to].fill(0);
            }
            Damage::Cut { at } => log.truncate(at.index(log.len())),
            Damage::Repeat { from, to } => {
                let (from, to) = (from.get(records).clone(), to.get(records).start);
                let record: Vec<u8> = log.get(from).map_or(Vec::new(), <[u8]>::to_vec);
                let to = to.min(log.len());
                let count = record.len().min(log.len() - to);
                log[to..to + count].copy_from_slice(&record[..count]);
            }
        }
    }
}

/// Recovery's reading of a segment with these records, on a disk of its own.
fn scanned(log: &[u8], room: usize) -> Result<Scanned, Error> {
    let disk = Arc::new(SimDisk::new(1));
    let env = Env {
        disk: disk.clone(),
        clock: disk,
        threads: false,
        faults: Faults::default(),
    };
    let header = Header {
        number: 1,
        log: LOG,
        start: START,
        epoch: EPOCH,
        time_ms: 0,
        bytes: segment::HEADER_BYTES + room as u64,
    };
    let mut bytes = header.write().to_vec();
    bytes.extend_from_slice(log);
    env.disk.make_dir(segment::DIR).unwrap();
    let path = segment::path(&segment::name(1));
    let file = env.disk.open(&path, true).unwrap();
    file.write_at(&bytes, 0).unwrap();
    let manifest = Manifest {
        log: LOG,
        epoch: EPOCH,
        redo: START,
        segment: 1,
        durable: START,
        history: false,
        horizon: Horizon {
            position: 0,
            time_ms: 0,
        },
    };
    scan(&env, &manifest)
}

/// Where the records end that were believed.
fn believed(scanned: &Scanned) -> usize {
    (scanned.end - START) as usize
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn arbitrary_bytes_are_no_record(bytes in vec(any::<u8>(), 0..9000), position: u64, epoch: u32) {
        prop_assert_eq!(record::read(&bytes, position, epoch, true), None);
    }

    /// With a checksum that fits, what is read is what the bytes say, or nothing.
    #[test]
    fn arbitrary_payload_with_its_checksum_is_read_or_refused(
        payload in vec(any::<u8>(), 0..9000),
        (kind, flags) in (0..4_u8, 0..5_u8),
    ) {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&payload);
        (bytes[20], bytes[21]) = (kind, flags);
        let crc = record::payload_crc(&bytes);
        record::seal(&mut bytes, crc, START, EPOCH, 1);
        if let Some(record) = record::read(&bytes, START, EPOCH, true) {
            prop_assert!(record.step >= bytes.len());
            for page in &record.pages {
                drop(page.decode(Some(&[1; PAGE_BYTES])));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_are_no_page(bytes in vec(any::<u8>(), 0..9000)) {
        if let Some((page, rest)) = Encoded::split(&bytes) {
            prop_assert!(rest.len() < bytes.len());
            // Four bytes of checksum stand between noise and a page; a page of zeros is its own.
            let crc = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
            if let Some(page) = page.decode(None) {
                prop_assert_eq!(crc32c::crc32c(&page[..]), crc);
            }
        }
    }

    #[test]
    fn a_whole_log_comes_back(sketches in vec(sketch(), 0..8)) {
        let (log, records) = log(&sketches);
        let scanned = scanned(&log, log.len()).unwrap();
        prop_assert_eq!(believed(&scanned), log.len());
        prop_assert_eq!(scanned.segments[0].records(true).count(), records.len());
        let commits = scanned.segments[0].records(true).filter(|one| one.kind == record::Kind::Commit);
        for (record, sketch) in commits.zip(&sketches) {
            prop_assert_eq!(record.restored, sketch.restored);
            prop_assert_eq!(record.key.and_then(|key| key.name), sketch.name.clone());
            for (encoded, (number, fill, is_noise)) in record.pages.iter().zip(&sketch.pages) {
                prop_assert_eq!(encoded.number, *number);
                prop_assert_eq!(*encoded.decode(None).unwrap(), page(*fill, *is_noise));
            }
        }
    }

    /// What is believed of a damaged log is a prefix of it, byte for byte and whole records.
    #[test]
    fn of_a_damaged_log_a_prefix_is_read_or_the_file_is_named(
        sketches in vec(sketch(), 1..8),
        damages in vec(damage(), 1..4),
    ) {
        let (log, records) = log(&sketches);
        let mut damaged = log.clone();
        for damage in &damages {
            damage.apply(&mut damaged, &records);
        }
        match scanned(&damaged, log.len()) {
            Ok(scanned) => {
                let end = believed(&scanned);
                prop_assert!(end == 0 || records.iter().any(|record| record.end == end));
                // The last record's padding is not part of it.
                let sealed = records.iter().take_while(|record| record.end <= end);
                for record in sealed {
                    let length = record::length(log[record.clone()].first_chunk().unwrap());
                    let bytes = record.start..record.start + length;
                    prop_assert_eq!(&damaged[bytes.clone()], &log[bytes]);
                }
            }
            Err(error) => prop_assert!(error.to_string().contains("00000001.seg"), "{}", error),
        }
    }
}
