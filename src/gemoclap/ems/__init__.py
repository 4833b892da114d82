"""EMS: self-supervised pre-training that masks where a clip's emotion is intense (Liu and Ma, arXiv 2406.06646)."""
