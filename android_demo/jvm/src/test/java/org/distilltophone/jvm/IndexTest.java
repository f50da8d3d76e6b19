package org.distilltophone.jvm;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertThrows;
import static org.junit.Assert.assertTrue;

import java.io.File;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.Index;
import org.distilltophone.core.Int8;
import org.distilltophone.core.TopK;
import org.junit.Test;

/** {@link LaneIndex} and {@link PrefilterIndex} against a search that sorts all rows. */
public class IndexTest {
    private static final File GOLDEN = new File("../../tests/gallery/golden");

    private static byte[] code(int dimension, Random random) {
        float[] unit = new float[dimension];
        double square = 0;
        for (int d = 0; d < dimension; d++) {
            unit[d] = (float) random.nextGaussian();
            square += unit[d] * unit[d];
        }
        for (int d = 0; d < dimension; d++) {
            unit[d] /= (float) Math.sqrt(square);
        }
        return Int8.quantize(unit);
    }

    private static byte[][] codes(int count, int dimension, Random random) {
        byte[][] rows = new byte[count][];
        for (int i = 0; i < count; i++) {
            rows[i] = code(dimension, random);
        }
        return rows;
    }

    private static ByteBuffer joined(byte[][] rows) {
        ByteBuffer all = ByteBuffer.allocate(rows.length * rows[0].length);
        for (byte[] row : rows) {
            all.put(row);
        }
        all.rewind();
        return all;
    }

    private static LaneIndex lanes(byte[][] rows) {
        return new LaneIndex(joined(rows), rows.length, rows[0].length);
    }

    private static PrefilterIndex prefilter(byte[][] rows) {
        return new PrefilterIndex(joined(rows), rows.length, rows[0].length, null, lanes(rows));
    }

    private static int dot(byte[] a, byte[] b) {
        return FlatIndex.dot(a, 0, b);
    }

    private static void check(byte[][] rows, List<Integer> among, byte[] query, int k, TopK found) {
        List<Integer> order = new ArrayList<>(among);
        order.sort((a, b) -> {
            int byScore = Integer.compare(dot(rows[b], query), dot(rows[a], query));
            return byScore != 0 ? byScore : a.compareTo(b);
        });
        assertEquals(Math.min(k, rows.length), found.size());
        for (int i = 0; i < found.size(); i++) {
            assertEquals("result " + i, (int) order.get(i), found.row(i));
            assertEquals(dot(rows[order.get(i)], query), found.dot(i));
        }
    }

    private static List<Integer> all(int count) {
        List<Integer> out = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            out.add(i);
        }
        return out;
    }

    @Test
    public void lanesFindWhatSortingFinds() {
        Random random = new Random(7);
        int[][] shapes = {{1, 1}, {3, 2}, {50, 7}, {2048, 16}, {2049, 128}, {5000, 33}, {300, 1024}};
        TopK reuse = new TopK(1);
        for (int[] shape : shapes) {
            byte[][] rows = codes(shape[0], shape[1], random);
            for (int i = 2; i < rows.length; i += 3) {
                rows[i] = rows[random.nextInt(i)]; // many equal rows, so that the order of ties shows
            }
            LaneIndex index = lanes(rows);
            for (int q = 0; q < 20; q++) {
                byte[] query = q % 2 == 0 ? rows[random.nextInt(rows.length)] : code(shape[1], random);
                int k = 1 + random.nextInt(30);
                index.search(query, k, reuse);
                check(rows, all(rows.length), query, k, reuse);
            }
        }
    }

    @Test
    public void lanesAreExactForRowsLongerThanAnyEmbedding() {
        Random random = new Random(8);
        byte[][] rows = new byte[100][200];
        for (byte[] row : rows) {
            random.nextBytes(row); // lengths around 1,000: products beyond 16 bits
        }
        Arrays.fill(rows[5], (byte) -128);
        Arrays.fill(rows[6], (byte) 127);
        TopK found = new TopK(100);
        for (byte[] query : rows) {
            lanes(rows).search(query, 100, found);
            check(rows, all(100), query, 100, found);
        }
    }

    @Test
    public void candidatesOfThePrefilterAreAllRowsUpToADistance() {
        Random random = new Random(9);
        for (int dimension : new int[] {5, 64, 100, 128, 130}) {
            byte[][] rows = codes(3000, dimension, random);
            PrefilterIndex index = prefilter(rows);
            TopK found = new TopK(10);
            for (int q = 0; q < 10; q++) {
                byte[] query = code(dimension, random);
                for (int k : new int[] {1, 5, 100}) {
                    index.search(query, k, found);
                    check(rows, candidates(rows, query, k), query, k, found);
                }
            }
        }
    }

    private static List<Integer> candidates(byte[][] rows, byte[] query, int k) {
        int wanted = Math.min(rows.length, Math.max(64 * k, (rows.length + 49) / 50));
        int[] distances = new int[rows.length];
        for (int i = 0; i < rows.length; i++) {
            for (int d = 0; d < query.length; d++) {
                distances[i] += (rows[i][d] >= 0) != (query[d] >= 0) ? 1 : 0;
            }
        }
        int[] sorted = distances.clone();
        Arrays.sort(sorted);
        List<Integer> out = new ArrayList<>();
        for (int i = 0; i < rows.length; i++) {
            if (distances[i] <= sorted[wanted - 1]) {
                out.add(i);
            }
        }
        return out;
    }

    @Test
    public void goldenGalleriesRankAsTheFlatIndexDoes() throws Exception {
        Gallery gallery = FolderSource.gallery(new File(GOLDEN, "int8.gallery"));
        Index flat = new FlatIndex(gallery);
        Index[] others = {new LaneIndex(gallery.rows(), gallery.count(), gallery.dimension()), PrefilterIndex.best(gallery)};
        assertTrue(others[1] instanceof PrefilterIndex);
        TopK expected = new TopK(1);
        TopK found = new TopK(1);
        ByteBuffer rows = gallery.rows();
        byte[] query = new byte[gallery.dimension()];
        for (int i = 0; i < gallery.count(); i++) {
            rows.get(query);
            flat.search(query, gallery.count(), expected);
            for (Index other : others) {
                other.search(query, gallery.count(), found);
                for (int place = 0; place < gallery.count(); place++) {
                    assertEquals(expected.row(place), found.row(place));
                    assertEquals(expected.dot(place), found.dot(place));
                }
            }
        }
    }

    @Test
    public void nothingIsAllocatedPerQuery() {
        Random random = new Random(10);
        byte[][] rows = codes(6000, 128, random);
        TopK reuse = new TopK(20);
        byte[] query = code(128, random);
        com.sun.management.ThreadMXBean threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        long me = Thread.currentThread().getId();
        for (Index index : new Index[] {lanes(rows), prefilter(rows)}) {
            index.search(query, 20, reuse);
            long before = threads.getThreadAllocatedBytes(me);
            for (int i = 0; i < 100; i++) {
                index.search(query, 20, reuse);
            }
            long allocated = threads.getThreadAllocatedBytes(me) - before;
            assertTrue(index.getClass() + " allocated " + allocated, allocated < 1000);
        }
    }

    @Test
    public void aQueryOfAnotherDimensionIsRefused() {
        byte[][] rows = {{1, 2}};
        for (Index index : new Index[] {lanes(rows), prefilter(rows)}) {
            assertThrows(IllegalArgumentException.class, () -> index.search(new byte[3], 1, new TopK(1)));
        }
    }
}
