//! One measured figure beside its limit and what it must reach.

use std::fmt;

/// What a figure must reach.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// This part of the limit at least.
    Ratio(f64),
    /// This value at least.
    AtLeast(f64),
    /// This value at most.
    AtMost(f64),
}

/// A measured figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What this machine allows, in the same unit and from the same run.
    pub limit: Option<f64>,
    /// What it must reach.
    pub goals: Vec<Goal>,
}

impl Figure {
    /// The figure as part of its limit.
    pub fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit)
    }

    /// Whether it reaches all it must.
    pub fn is_reached(&self) -> bool {
        self.goals.iter().all(|goal| match goal {
            Goal::Ratio(least) => self.ratio().is_some_and(|ratio| ratio >= *least),
            Goal::AtLeast(least) => self.value >= *least,
            Goal::AtMost(most) => self.value <= *most,
        })
    }

    /// One JSON object.
    pub fn to_json(&self) -> String {
        serde_json::json!({
            "name": self.name,
            "value": rounded(self.value),
            "unit": self.unit,
            "limit": self.limit.map(rounded),
            "ratio": self.ratio().map(rounded),
            "reached": self.is_reached(),
        })
        .to_string()
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<24}{:>12} {:<9}", self.name, rounded(self.value), self.unit)?;
        match (self.limit, self.ratio()) {
            (Some(limit), Some(ratio)) => {
                write!(f, "limit {:>10}  ratio {:>6}", rounded(limit), rounded(ratio))?;
            }
            _ => write!(f, "{:>30}", "")?,
        }
        for goal in &self.goals {
            match goal {
                Goal::Ratio(least) => write!(f, "  ratio >= {least}")?,
                Goal::AtLeast(least) => write!(f, "  >= {least}")?,
                Goal::AtMost(most) => write!(f, "  <= {most}")?,
            }
        }
        f.write_str(if self.is_reached() { "  reached" } else { "  MISSED" })
    }
}

/// Three digits that count.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    let scale = 10f64.powi(digits.clamp(0, 9));
    (value * scale).round() / scale
}
