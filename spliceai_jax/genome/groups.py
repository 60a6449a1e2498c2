"""Things that are joined, two at a time, into groups."""


class Groups:
    """Groups of numbers, of which any two can be joined."""

    def __init__(self, count: int) -> None:
        """Begin with each of the numbers below a count by itself."""
        self._toward = list(range(count))
        self._size = [1] * count

    def group(self, number: int) -> int:
        """Return the number that stands for a number's group."""
        while self._toward[number] != number:
            self._toward[number] = self._toward[self._toward[number]]
            number = self._toward[number]
        return number

    def size(self, number: int) -> int:
        """Return how many numbers are in a number's group."""
        return self._size[self.group(number)]

    def join(self, one: int, other: int) -> None:
        """Join the groups of two numbers."""
        one, other = sorted((self.group(one), self.group(other)))
        if one != other:
            self._toward[other] = one
            self._size[one] += self._size[other]
