//! The list of groups that glibc hands to `initgroups_dyn`, as an object; abi.rs makes one for the length of a call.
//!
//! It must never write past the array, lose it, or shrink it: glibc frees it.

use std::ffi::c_long;

use crate::LookupError;
use crate::initgroups::SupplementaryGids;

/// glibc's list of groups: an array from malloc(3), how much of it is used, and how large it is.
pub(super) struct GroupList<'a> {
    start: &'a mut c_long,
    size: &'a mut c_long,
    groups: &'a mut *mut libc::gid_t,
}

impl<'a> GroupList<'a> {
    /// # Safety
    /// Each pointer is null or leads to a variable that nobody else uses as long as the list is used; `*groups` came
    /// from malloc(3) and has room for `*size` gids, of which `*start` are there.
    pub unsafe fn of(
        start: *mut c_long,
        size: *mut c_long,
        groups: *mut *mut libc::gid_t,
    ) -> Result<Self, LookupError> {
        // SAFETY: the caller says that it is null or ours for as long.
        let start = unsafe { start.as_mut() };
        // SAFETY: likewise.
        let size = unsafe { size.as_mut() };
        // SAFETY: likewise.
        let groups = unsafe { groups.as_mut() };
        match (start, size, groups) {
            (Some(start), Some(size), Some(groups)) if 0 <= *start && *start <= *size && !groups.is_null() => {
                Ok(Self { start, size, groups })
            }
            _ => Err(LookupError::CannotTell),
        }
    }

    /// Adds what is not there yet, but not `skip`, up to `limit` gids in all where that is positive.
    pub fn add(mut self, found: &SupplementaryGids, skip: libc::gid_t, limit: c_long) -> Result<(), LookupError> {
        for gid in found.gids() {
            if *gid == skip || self.present().contains(gid) {
                continue;
            }
            if limit > 0 && *self.start >= limit {
                break;
            }
            if *self.start == *self.size {
                self.grow(limit)?;
            }
            let next = self
                .groups
                .wrapping_add(usize::try_from(*self.start).unwrap_or_default());
            // SAFETY: start is below size, so this is one of the array's places.
            unsafe { next.write(*gid) };
            *self.start += 1;
        }
        Ok(())
    }

    fn present(&self) -> &[libc::gid_t] {
        let len = usize::try_from(*self.start).unwrap_or_default();
        // SAFETY: `of` was told that these many gids are there, and `add` counts those that it wrote.
        unsafe { std::slice::from_raw_parts(*self.groups, len) }
    }

    /// Doubles the array, up to `limit` where that is positive. On failure the old one stays valid.
    fn grow(&mut self, limit: c_long) -> Result<(), LookupError> {
        let doubled = (*self.size).max(8).saturating_mul(2);
        let size = if limit > 0 { doubled.min(limit) } else { doubled };
        let bytes = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_mul(size_of::<libc::gid_t>()))
            .ok_or(LookupError::OutOfMemory)?;
        // SAFETY: the array came from malloc(3) or realloc(3), and is not used again where this succeeds.
        let grown: *mut libc::gid_t = unsafe { libc::realloc((*self.groups).cast(), bytes) }.cast();
        if grown.is_null() {
            return Err(LookupError::OutOfMemory);
        }
        *self.groups = grown;
        *self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds `gids` to a list of `present` gids and room for `size`: what the list is afterwards, and its room.
    fn list_after(present: &[libc::gid_t], size: usize, gids: &[u32], limit: c_long) -> (Vec<libc::gid_t>, c_long) {
        // SAFETY: malloc(3) takes a number.
        let mut groups: *mut libc::gid_t = unsafe { libc::malloc(size * size_of::<libc::gid_t>()) }.cast();
        // SAFETY: the array has room for `size` gids, and `present` has no more.
        unsafe { groups.copy_from_nonoverlapping(present.as_ptr(), present.len()) };
        let mut start = present.len() as c_long;
        let mut room = size as c_long;
        // SAFETY: three live variables, and an array as glibc's.
        let list = unsafe { GroupList::of(&raw mut start, &raw mut room, &raw mut groups) }.unwrap();
        list.add(&SupplementaryGids::of(gids.iter().copied()), 7, limit)
            .unwrap();
        // SAFETY: `start` gids are there.
        let after = unsafe { std::slice::from_raw_parts(groups, start as usize) }.to_vec();
        // SAFETY: the array came from malloc(3) or realloc(3).
        unsafe { libc::free(groups.cast()) };
        (after, room)
    }

    #[test]
    fn groups_are_added_once_without_the_one_to_skip_and_the_array_grows() {
        assert_eq!(list_after(&[1], 4, &[2, 7, 1, 2, 3], -1), (vec![1, 2, 3], 4));
        let many: Vec<u32> = (100..160).collect();
        let (after, room) = list_after(&[1], 1, &many, -1);
        assert_eq!(after, [&[1], &many[..]].concat());
        assert!(room >= 61);
    }

    #[test]
    fn no_more_groups_are_added_than_the_limit_allows() {
        assert_eq!(list_after(&[1], 1, &[2, 3, 4, 5], 3), (vec![1, 2, 3], 3));
        assert_eq!(list_after(&[1, 2], 2, &[3], 2), (vec![1, 2], 2));
    }

    #[test]
    fn a_null_pointer_or_an_impossible_list_is_refused() {
        let mut numbers = [2, 1];
        let [start, size] = &mut numbers;
        let mut groups = std::ptr::null_mut();
        // SAFETY: null is allowed.
        assert!(unsafe { GroupList::of(std::ptr::null_mut(), size, &raw mut groups) }.is_err());
        // SAFETY: live variables; null is allowed for the array.
        assert!(unsafe { GroupList::of(start, size, &raw mut groups) }.is_err());
    }
}
