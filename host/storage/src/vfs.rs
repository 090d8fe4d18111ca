//! The VFS through which SQLite reads and writes objects' pages.
//!
//! Registered once per process, used by `sqlite::Connection::open`; all that matters is in
//! `pages`. SQLite runs with `journal_mode=MEMORY`, so the only file of ours it opens is
//! the database; temporary files (large sorts) go to SQLite's own VFS. Relies on one fact,
//! pinned by a test: `SQLITE_FCNTL_COMMIT_PHASETWO` is sent when, and only when, a
//! transaction has become final.
//!
//! Unsafe because it is a table of C callbacks. Every file is a `File` in memory that
//! SQLite owns, holding one counted reference to its `Pages` from `open` to `close`.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::ErrorKind;
use std::mem;
use std::ptr;
use std::slice;
use std::sync::{Arc, Once};

use rusqlite::ffi;

use crate::log::delta::{PAGE_BYTES, Page};
use crate::pages::{Holder, Pages};

const NAME: &CStr = c"dormouse";
const PATH_BYTES: c_int = 512;

thread_local! {
    /// The pages that the next `xOpen` of this thread is for.
    static NEXT: RefCell<Option<(Arc<Pages>, Holder)>> = const { RefCell::new(None) };
}

#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    pages: *const Pages,
}

/// Runs `open` so that the database it opens reads and writes `pages`.
pub(crate) fn with_pages<T>(pages: Arc<Pages>, holder: Holder, open: impl FnOnce(&CStr) -> T) -> T {
    register();
    NEXT.set(Some((pages, holder)));
    let result = open(NAME);
    NEXT.take();
    result
}

fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: SQLite is initialised by the first call; its default VFS lives as long as the process.
        unsafe {
            let default = ffi::sqlite3_vfs_find(ptr::null());
            let own = (mem::size_of::<File>() as c_int).max((*default).szOsFile);
            // Randomness, time and sleep are the default's; they do not look at the VFS they are given.
            let vfs = ffi::sqlite3_vfs {
                iVersion: 2,
                szOsFile: own,
                mxPathname: PATH_BYTES,
                pNext: ptr::null_mut(),
                zName: NAME.as_ptr(),
                pAppData: default.cast(),
                xOpen: Some(open),
                xDelete: Some(delete),
                xAccess: Some(access),
                xFullPathname: Some(full_pathname),
                ..*default
            };
            ffi::sqlite3_vfs_register(Box::into_raw(Box::new(vfs)), 0);
        }
    });
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(lock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite hands over szOsFile bytes for the file and the VFS registered above.
    unsafe {
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
            let default = (*vfs).pAppData.cast::<ffi::sqlite3_vfs>();
            let (name, flags) = match flags & ffi::SQLITE_OPEN_MAIN_JOURNAL {
                0 => (name, flags),
                // `VACUUM INTO` wants a journal for its target, which needs no name.
                journal => {
                    let temporary = ffi::SQLITE_OPEN_TEMP_JOURNAL | ffi::SQLITE_OPEN_DELETEONCLOSE;
                    (ptr::null(), flags & !journal | temporary)
                }
            };
            return (*default).xOpen.map_or(ffi::SQLITE_CANTOPEN, |open| {
                open(default, name, file, flags, out_flags)
            });
        }
        (*file).pMethods = ptr::null();
        let Some((pages, holder)) = NEXT.take() else {
            return ffi::SQLITE_CANTOPEN;
        };
        if !pages.connect(holder) {
            return ffi::SQLITE_BUSY;
        }
        let own = file.cast::<File>();
        (*own).pages = Arc::into_raw(pages);
        (*own).base.pMethods = &METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

/// # Safety
/// `file` was opened by `open` above and is not closed.
unsafe fn pages<'a>(file: *mut ffi::sqlite3_file) -> &'a Pages {
    // SAFETY: promised by the caller; the reference counted there keeps it alive.
    unsafe { &*(*file.cast::<File>()).pages }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: called once per opened file; takes back the reference of `open`.
    let pages = unsafe { Arc::from_raw((*file.cast::<File>()).pages) };
    pages.disconnect();
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    // SAFETY: SQLite's file and a buffer of `amount` bytes.
    let (pages, to) = unsafe {
        (
            pages(file),
            slice::from_raw_parts_mut(to.cast::<u8>(), amount as usize),
        )
    };
    let (number, within) = (
        offset as usize / PAGE_BYTES + 1,
        offset as usize % PAGE_BYTES,
    );
    let result = pages.read(number as u32, |page| {
        let length = to.len().min(PAGE_BYTES - within);
        to[..length].copy_from_slice(&page[within..within + length]);
        length
    });
    match result {
        Ok(Some(length)) if length == to.len() => ffi::SQLITE_OK,
        Ok(length) => {
            to[length.unwrap_or(0)..].fill(0);
            ffi::SQLITE_IOERR_SHORT_READ
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => ffi::SQLITE_IOERR_DATA,
        Err(_) => ffi::SQLITE_IOERR_READ,
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: i64,
) -> c_int {
    let whole = amount as usize == PAGE_BYTES && (offset as usize).is_multiple_of(PAGE_BYTES);
    if !whole {
        return ffi::SQLITE_IOERR_WRITE;
    }
    // SAFETY: SQLite's file and a buffer of one page, as checked above.
    let (pages, page) = unsafe { (pages(file), &*from.cast::<Page>()) };
    match pages.write((offset as usize / PAGE_BYTES + 1) as u32, page) {
        true => ffi::SQLITE_OK,
        false => ffi::SQLITE_FULL,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    // SAFETY: SQLite's file.
    unsafe { pages(file) }.truncate((size as usize).div_ceil(PAGE_BYTES) as u32);
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    // SAFETY: SQLite's file and a valid place for the answer.
    unsafe { *size = i64::from(pages(file).size()) * PAGE_BYTES as i64 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    op: c_int,
    _: *mut c_void,
) -> c_int {
    if op == ffi::SQLITE_FCNTL_COMMIT_PHASETWO {
        // SAFETY: SQLite's file.
        unsafe { pages(file) }.commit();
        return ffi::SQLITE_OK;
    }
    ffi::SQLITE_NOTFOUND
}

// The host owns every sync, and one connection needs no locks.

unsafe extern "C" fn sync(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn lock(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_reserved_lock(_: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    // SAFETY: a valid place for the answer.
    unsafe { *held = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    PAGE_BYTES as c_int
}

unsafe extern "C" fn characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

/// There are no journals to be found.
unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    found: *mut c_int,
) -> c_int {
    // SAFETY: a valid place for the answer.
    unsafe { *found = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a NUL-terminated name and `length` writable bytes.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length as usize {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}
