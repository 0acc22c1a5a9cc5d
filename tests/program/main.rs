//! The program as its users have it: the real binary, real processes, real folders and ports.
//!
//! Every test has a folder of its own, waits for conditions with deadlines, and leaves no process and
//! no file behind. Members listen on ports that the kernel chooses, except where a page of the
//! documentation names addresses; such a test waits until nobody else uses them.

#[cfg(test)]
mod alone;
#[cfg(test)]
mod bad_files;
#[cfg(test)]
mod bad_folders;
#[cfg(test)]
mod dag;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod floods;
#[cfg(test)]
mod gateways;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod masters;
#[cfg(test)]
mod one_identity;
#[cfg(test)]
mod pins;
#[cfg(test)]
mod removed;
#[cfg(test)]
mod service;
#[cfg(test)]
mod three_machines;
#[cfg(test)]
mod watched;
#[cfg(test)]
mod wrong_input;
