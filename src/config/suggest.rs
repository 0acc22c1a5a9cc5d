//! "Did you mean": the known word that is closest to a mistyped one.

/// The candidate nearest to `word` by Damerau-Levenshtein distance (optimal string alignment), if it is
/// near enough to be what was meant. A candidate whose last dotted segment is `word` wins outright.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // The distance costs time in the product of the lengths; no key is nearly that long.
    const LEN_BYTES_MAX: usize = 100;
    if word.len() > LEN_BYTES_MAX {
        return None;
    }
    let wanted = word.to_ascii_lowercase().replace('-', "_");
    let budget = (wanted.len() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let known = candidate.to_ascii_lowercase();
            let cost = if joined(&known) == joined(&wanted) || last_segment(&known) == wanted {
                0
            } else {
                let of_last = distance(last_segment(&wanted), last_segment(&known));
                distance(&wanted, &known).min(1 + of_last)
            };
            (cost <= budget).then_some((cost, candidate))
        })
        .min_by_key(|(cost, _)| *cost)
        .map(|(_, candidate)| candidate)
}

/// With the separators that people mix up made equal.
fn joined(word: &str) -> String {
    word.replace(['-', '_'], ".")
}

fn last_segment(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, &l) in left.iter().enumerate() {
        let mut row = Vec::with_capacity(right.len() + 1);
        row.push(i + 1);
        for (j, &r) in right.iter().enumerate() {
            let mut cost = (last[j] + usize::from(l != r)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests;
