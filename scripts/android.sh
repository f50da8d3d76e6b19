#!/bin/sh
# Builds a signed APK from a bundle and a gallery; you can also run each line separately.
#   sh scripts/android.sh BUNDLE GALLERY       empty arguments: the output of "make demo", or a small model trained in a minute
set -eu
bundle=$1 gallery=$2
here=$(cd "$(dirname "$0")/.." && pwd)
data=glyphs

for need in mvn:maven aapt2:aapt apksigner:apksigner zipalign:zipalign javac:default-jdk-headless; do
    if ! command -v "${need%%:*}" >/dev/null; then
        echo "make android: ${need%%:*} is not installed: apt-get install maven aapt apksigner zipalign default-jdk-headless" >&2
        exit 1
    fi
done

if [ -n "$bundle" ] && [ -z "$gallery" ]; then
    echo "make android: no gallery for $bundle: run distill-index $bundle IMAGES --out FILE, then give GALLERY=FILE" >&2
    exit 1
fi
if [ -z "$bundle" ] && [ -e runs/demo/bundle/bundle.json ]; then
    bundle=runs/demo/bundle
fi
if [ -z "$bundle" ]; then
    bundle=runs/android/bundle data=glyphs:classes=300
    if [ ! -e "$bundle/bundle.json" ]; then
        # float32, because distill-export rightly refuses int8 of a network trained for such a short time: it differs too much.
        echo "== no model yet: training a small one, just to see the app (make demo makes a good one, in int8)"
        [ -e runs/android/student/model.json ] || distill-train student --data "$data" --recipe "$here/recipes/glyphs-student.yaml" \
            --method multi_similarity --epochs 6 --out runs/android/student
        distill-export runs/android/student --target tflite --quantize none --calibration-data "$data" --out "$bundle" --overwrite
    fi
fi
if [ -z "$gallery" ]; then
    gallery=runs/android/demo.gallery
    mkdir -p runs/android
    echo "== distill-index $bundle $data --part test --limit 3000 --thumbnails 64 --out $gallery"
    distill-index "$bundle" "$data" --part test --limit 3000 --thumbnails 64 --out "$gallery" --overwrite
fi

echo "== pack.py assets; mvn package; pack.py apk"
python3 "$here/android_demo/pack.py" assets --bundle "$bundle" --gallery "$gallery"
mvn -q -B -f "$here/android_demo/pom.xml" package -DskipTests -pl app,runner -am
python3 "$here/android_demo/pack.py" apk
echo "install it: adb install -r android_demo/build/distill-to-phone-arm64-v8a.apk"
