"""Block bench of arming, moderation and MSI-X."""
