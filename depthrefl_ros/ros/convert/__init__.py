"""Messages to arrays and back: images, camera descriptions, clouds."""
