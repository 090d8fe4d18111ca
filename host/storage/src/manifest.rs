//! MANIFEST: where recovery begins.
//!
//! Written by checkpoints and recovery, read once at start. A small text with a checksum,
//! replaced as a whole: written beside, synced, renamed, folder synced (I5: it never names
//! what is not durable).

use std::io;

use crate::disk::Env;
use crate::error::Error;
use crate::fault::Fault;
use crate::history::Horizon;

pub(crate) const NAME: &str = "MANIFEST";
const TEMPORARY: &str = "MANIFEST.tmp";
const TITLE: &str = "dormouse-storage";
const VERSION: &str = "2";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The id of the log.
    pub(crate) log: u64,
    /// The incarnation that wrote it; only grows.
    pub(crate) epoch: u32,
    /// Records from here on may be missing in the files.
    pub(crate) redo: u64,
    /// The segment that holds `redo`; there is none yet in epoch 0.
    pub(crate) segment: u64,
    /// The log was durable at least up to here.
    pub(crate) durable: u64,
    /// Whether checkpoints keep what they overwrite.
    pub(crate) history: bool,
    /// From where on history is complete.
    pub(crate) horizon: Horizon,
}

impl Manifest {
    pub(crate) fn text(&self) -> String {
        let Manifest {
            log,
            epoch,
            redo,
            segment,
            durable,
            history,
            horizon: Horizon { position, time_ms },
        } = self;
        let history = u8::from(*history);
        let text = format!(
            "{TITLE} {VERSION}\nlog {log:016x}\nepoch {epoch}\nredo {redo}\nsegment {segment}\n\
             durable {durable}\nhistory {history}\nhorizon {position}\nhorizon-ms {time_ms}\n"
        );
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc {crc:08x}\n")
    }

    pub(crate) fn store(&self, env: &Env) -> io::Result<()> {
        let file = env.disk.open(TEMPORARY, true)?;
        let text = self.text();
        file.set_len(text.len() as u64)?;
        file.write_at(text.as_bytes(), 0)?;
        if !env.faults.is(Fault::ManifestNotSynced) {
            file.sync()?;
        }
        env.disk.rename(TEMPORARY, NAME)?;
        env.disk.sync_dir("")
    }

    /// `None` when there is none.
    pub(crate) fn load(env: &Env) -> Result<Option<Manifest>, Error> {
        let failed = |source| Error::io("reading", NAME, source);
        let file = match env.disk.open(NAME, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut bytes = vec![0; 4096];
        let read = file.read_at(&mut bytes, 0).map_err(failed)?;
        bytes.truncate(read);
        parse(&bytes).map(Some)
    }
}

fn parse(bytes: &[u8]) -> Result<Manifest, Error> {
    let refuse = |found: String, advice| Error::Format {
        path: NAME.into(),
        found,
        advice,
    };
    let damaged = || refuse("is damaged".into(), "restore the data folder from a backup");
    let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
    let (body, crc) = text.rsplit_once("crc ").ok_or_else(damaged)?;
    if crc != format!("{:08x}\n", crc32c::crc32c(body.as_bytes())) {
        return Err(damaged());
    }
    let mut lines = body.lines();
    match lines.next().and_then(|line| line.split_once(' ')) {
        Some((TITLE, VERSION)) => (),
        Some((TITLE, version)) => {
            let found = format!("has format {version}, this host reads {VERSION}");
            return Err(refuse(found, "start the version of the host that wrote it"));
        }
        _ => return Err(damaged()),
    }
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let fields = (
        field("log"),
        field("epoch"),
        field("redo"),
        field("segment"),
        field("durable"),
    );
    let (Some(log), Some(epoch), Some(redo), Some(segment), Some(durable)) = fields else {
        return Err(damaged());
    };
    let past = (field("history"), field("horizon"), field("horizon-ms"));
    let (Some(history), Some(position), Some(time_ms)) = past else {
        return Err(damaged());
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| damaged());
    Ok(Manifest {
        log: u64::from_str_radix(log, 16).map_err(|_| damaged())?,
        epoch: u32::try_from(number(epoch)?).map_err(|_| damaged())?,
        redo: number(redo)?,
        segment: number(segment)?,
        durable: number(durable)?,
        history: number(history)? > 0,
        horizon: Horizon {
            position: number(position)?,
            time_ms: number(time_ms)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Manifest = Manifest {
        log: 0xabc,
        epoch: 3,
        redo: 4096,
        segment: 7,
        durable: 9000,
        history: true,
        horizon: Horizon {
            position: 64,
            time_ms: 12,
        },
    };

    #[test]
    fn it_comes_back_and_no_flipped_bit_passes() {
        let text = SAMPLE.text();
        assert_eq!(parse(text.as_bytes()).unwrap(), SAMPLE);
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            parse(&bytes).expect_err("a flipped bit");
        }
    }

    #[test]
    fn another_format_is_named() {
        let body = SAMPLE.text().replace("storage 2", "storage 3");
        let (body, _) = body.rsplit_once("crc ").unwrap();
        let text = format!("{body}crc {:08x}\n", crc32c::crc32c(body.as_bytes()));
        let error = parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("has format 3"), "{error}");
    }
}
