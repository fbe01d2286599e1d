"""What the engine's tests share with those of the stores."""

import pytest

pytest.register_assert_rewrite("uploads", "places", "servers", "patterns")
