"""What the language of `sprout` knows about, one line a thing, so that every fact can be checked.

Columns: name, colour, category, size, place, and the taste of what can be eaten or drunk. Most
lines are true of the world; where the world is vague (the colour of a cup) the line decides.
"""

from typing import Literal, NamedTuple, get_args

Attribute = Literal["colour", "category", "size", "place", "taste"]
ATTRIBUTES: tuple[Attribute, ...] = get_args(Attribute)

COLOURS = (
    "black",
    "blue",
    "brown",
    "green",
    "grey",
    "orange",
    "pink",
    "purple",
    "red",
    "white",
    "yellow",
)

TABLE = """
banana yellow fruit small kitchen sweet
apple red fruit small garden sweet
lemon yellow fruit small kitchen sour
lime green fruit small shop sour
cherry red fruit tiny garden sweet
strawberry red fruit tiny garden sweet
blueberry blue fruit tiny forest sweet
raspberry red fruit tiny garden sour
blackberry black fruit tiny forest sour
cranberry red fruit tiny shop sour
pear green fruit small garden sweet
peach pink fruit small shop sweet
plum purple fruit small garden sweet
grape purple fruit tiny shop sweet
apricot orange fruit small shop sweet
tangerine orange fruit small kitchen sweet
grapefruit pink fruit small kitchen bitter
mango orange fruit small jungle sweet
papaya orange fruit big jungle sweet
pineapple yellow fruit big jungle sweet
coconut brown fruit big jungle sweet
kiwi green fruit small shop sour
melon green fruit big shop sweet
fig purple fruit small garden sweet
olive green fruit tiny shop salty
carrot orange vegetable small garden sweet
potato brown vegetable small farm salty
tomato red vegetable small garden sweet
cucumber green vegetable small garden bitter
lettuce green vegetable big garden bitter
cabbage green vegetable big farm bitter
pea green vegetable tiny garden sweet
bean green vegetable tiny farm salty
onion white vegetable small kitchen spicy
leek green vegetable big farm spicy
radish red vegetable tiny garden spicy
beetroot purple vegetable small farm sweet
pumpkin orange vegetable huge farm sweet
eggplant purple vegetable big shop bitter
turnip white vegetable small farm bitter
mushroom brown vegetable small forest salty
bread brown food big kitchen salty
cheese yellow food small kitchen salty
egg white food small farm salty
cake pink food big kitchen sweet
cookie brown food small kitchen sweet
pancake brown food small kitchen sweet
pizza red food big street salty
sausage pink food small street spicy
burger brown food small street salty
pretzel brown food small street salty
omelette yellow food small kitchen salty
pickle green food small kitchen sour
curry yellow food big kitchen spicy
taco yellow food small street spicy
noodle white food small kitchen salty
candy pink food tiny shop sweet
walnut brown food tiny forest bitter
almond brown food tiny shop bitter
milk white drink small farm sweet
coffee black drink small kitchen bitter
tea brown drink small kitchen bitter
lemonade yellow drink small street sour
cola black drink small street sweet
smoothie pink drink big kitchen sweet
cider orange drink big farm sour
dog brown animal big house
cat black animal small house
cow white animal huge farm
pig pink animal big farm
horse brown animal huge farm
goat white animal big mountain
donkey grey animal big farm
rabbit white animal small field
mouse/mice grey animal tiny house
rat grey animal small street
hamster orange animal tiny house
fox/foxes red animal big forest
wolf/wolves grey animal big forest
bear brown animal huge forest
hedgehog brown animal small garden
squirrel red animal small forest
mole black animal small field
bat black animal small forest
lion yellow animal huge desert
tiger orange animal huge jungle
elephant grey animal huge jungle
giraffe yellow animal huge desert
zebra white animal huge field
monkey brown animal big jungle
gorilla black animal huge jungle
panda white animal huge mountain
camel brown animal huge desert
frog green animal small river
toad brown animal small river
snake green animal big jungle
lizard green animal small desert
turtle green animal big sea
crocodile green animal huge river
beaver brown animal big river
otter brown animal big river
seal grey animal huge sea
whale blue animal huge sea
dolphin grey animal huge sea
octopus/octopuses purple animal big sea
crab red animal small sea
lobster red animal small sea
snail brown animal tiny garden
worm pink animal tiny garden
duck yellow bird small river
swan white bird big river
goose/geese grey bird big farm
hen brown bird small farm
crow black bird small field
raven black bird big mountain
robin red bird tiny garden
sparrow brown bird tiny street
pigeon grey bird small street
gull white bird small sea
parrot green bird small jungle
flamingo pink bird big river
owl brown bird big forest
eagle brown bird big mountain
penguin black bird big sea
canary yellow bird tiny house
ostrich black bird huge desert
salmon pink fish big river
trout brown fish small river
tuna blue fish big sea
shark grey fish huge sea
herring grey fish small sea
goldfish orange fish tiny house
eel black fish big river
bee yellow insect tiny garden
wasp yellow insect tiny street
ant black insect tiny forest
fly black insect tiny kitchen
beetle black insect tiny forest
ladybird red insect tiny garden
butterfly blue insect tiny field
moth grey insect tiny house
cricket green insect tiny field
mosquito grey insect tiny river
rose red flower small garden
tulip red flower small garden
daisy white flower tiny field
lily white flower small river
sunflower yellow flower big field
daffodil yellow flower small garden
violet purple flower tiny forest
poppy red flower tiny field
orchid pink flower small jungle
buttercup yellow flower tiny field
bluebell blue flower tiny forest
oak green tree huge forest
pine green tree huge mountain
birch white tree huge forest
maple red tree huge street
palm green tree huge desert
willow green tree huge river
hammer black tool small workshop
saw grey tool big workshop
drill yellow tool small workshop
screw grey tool tiny workshop
nail grey tool tiny workshop
shovel brown tool big garden
rake green tool big garden
axe red tool big forest
ladder white tool huge workshop
pencil yellow tool tiny school
eraser pink tool tiny school
ruler yellow tool small school
knife/knives grey tool small kitchen
spoon white tool small kitchen
fork grey tool small kitchen
shirt white garment small house
sock white garment tiny house
hat black garment small shop
scarf/scarves red garment big house
glove brown garment small field
boot brown garment small farm
coat blue garment big street
dress/dresses pink garment big shop
skirt purple garment small shop
sweater green garment big mountain
uniform blue garment big school
car red vehicle huge street
bus/buses yellow vehicle huge street
taxi yellow vehicle huge street
truck orange vehicle huge street
tractor green vehicle huge farm
bicycle blue vehicle big street
boat white vehicle huge sea
submarine yellow vehicle huge sea
canoe brown vehicle big river
plane white vehicle huge sky
rocket white vehicle huge sky
balloon red toy small sky
kite blue toy small sky
ball red toy small school
doll pink toy small house
puzzle blue toy small house
marble blue toy tiny school
ruby red gem tiny mountain
emerald green gem tiny mountain
sapphire blue gem tiny shop
pearl white gem tiny sea
amethyst purple gem small mountain
piano black instrument huge school
violin brown instrument small school
guitar brown instrument big house
drum red instrument big street
trumpet yellow instrument small school
"""


class Thing(NamedTuple):
    """One thing and what is true of it."""

    name: str
    """Singular noun."""
    plural: str
    """Plural noun."""
    facts: dict[Attribute, str]
    """The true value of every attribute the thing has."""


def plural_of(noun: str) -> str:
    """The regular English plural."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun in ("potato", "tomato", "mango", "mosquito"):
        return noun + "es"
    return noun + "s"


def article(noun: str) -> str:
    """The noun with its indefinite article: `an apple`, `a uniform`."""
    vowel = noun[0] in "aeiou" and noun != "uniform"
    return f"{'an' if vowel else 'a'} {noun}"


def _parse(line: str) -> Thing:
    """One line of the table as a thing."""
    names, *values = line.split()
    name, _, plural = names.partition("/")
    facts = dict(zip(ATTRIBUTES, values, strict=False))
    return Thing(name, plural or plural_of(name), facts)


THINGS: tuple[Thing, ...] = tuple(_parse(line) for line in TABLE.strip().splitlines())
THING_OF: dict[str, Thing] = {thing.name: thing for thing in THINGS}
VALUES: dict[Attribute, tuple[str, ...]] = {
    attribute: tuple(
        sorted({thing.facts[attribute] for thing in THINGS if attribute in thing.facts})
    )
    for attribute in ATTRIBUTES
}
MARGINALS: dict[Attribute, tuple[str, ...]] = {
    attribute: tuple(thing.facts[attribute] for thing in THINGS if attribute in thing.facts)
    for attribute in ATTRIBUTES
}
