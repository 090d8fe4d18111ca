//! Faults: orderings that are deliberately wrong, to prove that the crash suite sees them.
//!
//! Without the feature `faults` this is a type of no size whose question is answered with
//! a constant, so a normal build holds none of it.

/// One wrong ordering each; the comment says what the right code does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The log is synced before a gate opens.
    LogNotSynced,
    /// A gate opens after the sync, not after the write.
    GateAtWrite,
    /// A page reaches its file after its record is durable.
    FlushBeforeDurable,
    /// Object files are synced before their records may go.
    FilesNotSynced,
    /// The redo position moves after the files are synced.
    RedoBeforeSync,
    /// The manifest is synced before it is renamed.
    ManifestNotSynced,
    /// A new segment's name is synced before anything relies on it.
    SegmentDirNotSynced,
    /// A new object's name is synced before its records may go.
    ObjectDirNotSynced,
    /// Records are checked by CRC.
    NoRecordCrc,
    /// A new incarnation writes to a new segment with a higher epoch.
    AppendBehindTail,
    /// Recovery makes the tail it has read durable.
    TailNotSynced,
    /// … and does so before redo touches a file.
    RedoBeforeTail,
    /// A file is removed after the record that says so is durable.
    UnlinkBeforeDurable,
    /// A failed sync of the log ends it.
    SyncErrorIgnored,
    /// An answer that was only read waits, too.
    UngatedRead,
    /// What an object was told holds back what it says.
    CauseForgotten,
    /// A folder has one owner, and keeps who comes second out.
    SecondOwner,
    /// A delta's base is at or after the redo position.
    DeltaAcrossRedo,
    /// Segments go after the manifest that no longer needs them is durable.
    RecycleBeforeManifest,
    /// Redo is synced before the manifest skips its records.
    RecoveryFilesNotSynced,
    /// An object file whose sync failed is written again.
    FileSyncErrorIgnored,
    /// Removed files stay removed before their records go.
    UnlinkDirNotSynced,
    /// A pack is synced before its records may go.
    PackNotSynced,
    /// … and so is its name.
    PackNameNotSynced,
    /// What a file is about to lose is in a pack before the file is written.
    FilesBeforePack,
    /// Recovery archives before redo touches a file.
    RedoBeforePack,
    /// The horizon moves before the packs behind it go.
    HorizonAfterPacks,
    /// A deletion ends when the log has let go of the object, too.
    DeleteKeepsLog,
}

/// Which fault is on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    on: Option<Fault>,
}

#[cfg(feature = "faults")]
impl Faults {
    pub fn only(fault: Fault) -> Faults {
        Faults { on: Some(fault) }
    }

    pub(crate) fn is(self, fault: Fault) -> bool {
        self.on == Some(fault)
    }
}

#[cfg(not(feature = "faults"))]
impl Faults {
    pub(crate) const fn is(self, _: Fault) -> bool {
        false
    }
}
